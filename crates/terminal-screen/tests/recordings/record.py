#!/usr/bin/env python3
"""Records a program's output on a pty, with what is typed into it, for the differential tests.

Usage: record.py OUT.rec COLUMNS ROWS SCRIPT -- COMMAND...

SCRIPT has one step per line: `wait SECONDS`, `send TEXT` (Python escapes) or `size COLUMNS ROWS`.
Record in a namespace of its own (`unshare -mpf --uts --mount-proc`), so that no names of the machine get in.
"""
import fcntl, os, pty, select, signal, struct, sys, termios, time

QUERIES = {b"\x1b[c": b"\x1b[?1;2c", b"\x1b[>c": b"\x1b[>0;276;0c", b"\x1b[6n": b"\x1b[1;1R"}


def main():
    out, columns, rows, script = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    command = sys.argv[sys.argv.index("--") + 1:]
    pid, pty_fd = pty.fork()
    if pid == 0:
        time.sleep(0.2)  # until the size is set
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LC_ALL="C.UTF-8", HISTFILE="/dev/null")
        os.execvp(command[0], command)
    with open(out, "wb") as recording:
        def resize(columns, rows):
            fcntl.ioctl(pty_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            recording.write(b"r" + struct.pack("<HH", columns, rows))

        def follow(seconds):
            end = time.time() + seconds
            while (left := end - time.time()) > 0:
                if not select.select([pty_fd], [], [], left)[0]:
                    return
                try:
                    data = os.read(pty_fd, 65536)
                except OSError:
                    return
                recording.write(b"o" + struct.pack("<I", len(data)) + data)
                for query, answer in QUERIES.items():
                    if query in data:
                        os.write(pty_fd, answer)

        resize(columns, rows)
        follow(0.5)
        for line in open(script):
            step, _, argument = line.rstrip("\n").partition(" ")
            if step == "wait":
                follow(float(argument))
            elif step == "send":
                os.write(pty_fd, argument.encode().decode("unicode_escape").encode("latin1"))
                follow(0.25)
            elif step == "size":
                resize(*map(int, argument.split()))
                follow(0.5)
        follow(0.8)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


main()
