#!/usr/bin/env python3
"""A real Git server for tests: git's own http-backend behind a small HTTP server.

Usage: git_server.py FOLDER [--listen HOST] [--token TOKEN] [--certificate FILE], with key and certificate for HTTPS

Repositories FOLDER/public/*.git can be read and written by anybody, FOLDER/private/*.git only with TOKEN as the
password of Basic authentication. Prints one line, the port, when it is ready. Every request is appended to
FOLDER/requests.log with what it authenticated by, so that a test can look.
"""

import argparse
import base64
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.serve(b"")

    def do_POST(self):
        self.serve(self.body())

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def serve(self, body):
        url = urlsplit(self.path)
        path = unquote(url.path)
        with self.server.lock, open(os.path.join(self.server.folder, "requests.log"), "a") as log:
            print(self.command, self.path, "authorization" if self.password() else "anonymous", file=log)
        if path.startswith("/private/") and self.password() != self.server.token:
            return self.answer(401, b"sign in\n", [("WWW-Authenticate", 'Basic realm="test"')])
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.server.folder,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "tester",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "http.receivepack",
            "GIT_CONFIG_VALUE_0": "true",
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
        }
        result = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE, check=False
        )
        head, _, content = result.stdout.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            else:
                headers.append((name, value))
        self.answer(status, content, headers)

    def password(self):
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        return base64.b64decode(encoded).decode().partition(":")[2]

    def answer(self, status, content, headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--token", default=None)
    parser.add_argument("--certificate", default=None)
    arguments = parser.parse_args()
    server = ThreadingHTTPServer((arguments.listen, 0), Handler)
    server.daemon_threads = True
    server.folder = os.path.abspath(arguments.folder)
    server.token = arguments.token
    server.lock = threading.Lock()
    if arguments.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate)
        # The handshake belongs to the thread that serves the connection.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
