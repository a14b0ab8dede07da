# Something that remembers: it counts, holds memory that nothing compresses, and tells both to whoever connects.
import hashlib, os, socket, threading, time
held = os.urandom(48 << 20)
digest = hashlib.sha256(held).hexdigest()
count = 0
def counting():
    global count
    while True:
        count += 1
        time.sleep(0.01)
threading.Thread(target=counting, daemon=True).start()
server = socket.create_server(("127.0.0.1", 7000))
while True:
    client, _ = server.accept()
    same = hashlib.sha256(held).hexdigest() == digest
    client.sendall(f"{os.getpid()} {digest} {same} {count}\n".encode())
    client.close()
