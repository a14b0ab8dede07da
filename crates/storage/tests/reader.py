"""Reads a store by docs/storage-format.md alone: verifies a version of a disk and writes it to a file.

usage: reader.py STORE KEYRING TENANT DISK [NUMBER] OUTPUT
       reader.py STORE KEYRING TENANT DISK/ATTACHMENT OUTPUT
Needs the packages cryptography, blake3 and lz4.
"""

import json
import struct
import sys
from pathlib import Path

import blake3
import lz4.block
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BLOCK = 4096
ZERO_SLOT = 0xFFFF_FFFF
PACK, INDEX, MANIFEST, ATTACHMENT = 1, 2, 3, 5


def hkdf(salt, secret, info):
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def crc32c(data):
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F6_3B78 if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF


def check(condition, what):
    if not condition:
        sys.exit(f"damaged: {what}")


class Object:
    """An opened container: its frames' contents and what its kind adds to the directory."""

    def __init__(self, store, path, kind, identity=None):
        data = (store.folder / store.tenant / path).read_bytes()
        header = data[:32]
        check(header[:8] == b"RoostOb1" and header[8] == kind, path)
        check(identity is None or header[16:] == identity, path)
        key = AESGCM(hkdf(header[16:], store.tenant_key(struct.unpack("<I", header[12:16])[0]), b"roost object 1"))

        def opened(part, sealed):
            return key.decrypt(bytes(4) + struct.pack("<Q", part), sealed, header)

        size, crc = struct.unpack("<II", data[-16:-8])
        check(data[-8:] == b"RoostEnd" and crc == crc32c(data[-16:-12]), path)
        directory = opened(2**64 - 1, data[-16 - size : -16])
        (count,) = struct.unpack_from("<I", directory)
        at = 32
        self.frames = []
        for number in range(count):
            stored, raw = struct.unpack_from("<II", directory, 4 + 8 * number)
            length = stored & 0x7FFF_FFFF
            content = opened(number, data[at : at + length])
            if not stored >> 31:
                content = lz4.block.decompress(content, uncompressed_size=raw)
            check(len(content) == raw, path)
            self.frames.append(content)
            at += length
        check(at == len(data) - 16 - size, path)
        self.extra = directory[4 + 8 * count :]


class Store:
    def __init__(self, folder, keys, tenant):
        self.folder, self.tenant = Path(folder), tenant
        self.keys = {int(key): bytes.fromhex(value) for key, value in keys["keys"].items()}
        self.all_keys = keys

    def tenant_key(self, key):
        return hkdf(b"roost tenant 1", self.keys[key], self.tenant.encode())

    def manifest(self, disk, number=None):
        folder = self.folder / self.tenant / "disks" / disk
        name = f"{number:016x}" if number is not None else max(path.name for path in folder.iterdir())
        manifest = json.loads(Object(self, f"disks/{disk}/{name}", MANIFEST).frames[0])
        check(manifest["format"] == 1, "a newer format")
        named = (manifest["tenant"], manifest["disk"], manifest["number"])
        check(named == (self.tenant, disk, int(name, 16)), name)
        return manifest

    def pack(self, name):
        """Blocks by slot, each found to be the one that its identity says; and the pack's changes."""
        pack = Object(self, f"packs/{name[:2]}/{name}", PACK, bytes.fromhex(name))
        content = b"".join(pack.frames)
        (slots,) = struct.unpack_from("<I", pack.extra)
        check(len(content) == slots * BLOCK, name)
        path = self.folder / self.tenant / f"packs/{name[:2]}/{name}"
        key = hkdf(b"roost identities 1", self.tenant_key(struct.unpack("<I", path.read_bytes()[12:16])[0]), b"blake3")
        blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
        for slot, block in enumerate(blocks):
            identity = pack.extra[8 + 16 * slot : 24 + 16 * slot]
            check(blake3.blake3(block, key=key).digest()[:16] == identity, f"{name} slot {slot}")
        at = 8 + 16 * slots
        (count,) = struct.unpack_from("<I", pack.extra, at)
        changes = [struct.unpack_from("<III", pack.extra, at + 4 + 12 * number) for number in range(count)]
        return blocks, changes

    def index(self, name):
        """Block → (pack, slot), or None for zeros."""
        index = Object(self, f"indexes/{name}", INDEX, bytes.fromhex(name))
        content = b"".join(index.frames)
        _, count = struct.unpack_from("<II", index.extra)
        pages = struct.unpack_from(f"<{count}I", index.extra, 8)
        (packs,) = struct.unpack_from("<I", index.extra, 8 + 4 * count)
        table, at = [], count * BLOCK
        for _ in range(packs):
            slots, per_frame = struct.unpack_from("<HB", content, at + 20)
            table.append(content[at : at + 16].hex())
            at += 24 + 4 * -(-slots // per_frame)
        check(at == len(content), name)
        places = {}
        for number, page in enumerate(pages):
            word = 0
            for offset, difference in enumerate(struct.unpack_from("<1024I", content, number * BLOCK)):
                word = (word + difference) % 2**32
                if word == 1:
                    places[page * 1024 + offset] = None
                elif word:
                    places[page * 1024 + offset] = (table[word // 1024 - 1], word % 1024)
        return places

    def attachment(self, disk, name):
        """Description and content."""
        attachment = Object(self, f"attachments/{disk}/{name}", ATTACHMENT, bytes.fromhex(name))
        (length,) = struct.unpack_from("<I", attachment.extra)
        check(attachment.extra[4 : 4 + length] == disk.encode(), name)
        return attachment.extra[4 + length :], b"".join(attachment.frames)

    def read(self, manifest):
        """The content of a version."""
        places = self.index(manifest["index"]) if manifest["index"] else {}
        packs = {}
        for name in manifest["segments"]:
            packs[name] = self.pack(name)
            for first, count, slot in packs[name][1]:
                for number in range(count):
                    places[first + number] = None if slot == ZERO_SLOT else (name, slot + number)
        size = manifest["blocks"] * BLOCK
        base = manifest["base"]
        content = bytearray()
        if base:
            below = Store(self.folder, self.all_keys, base["tenant"])
            content = bytearray(below.read(below.manifest(base["disk"], base["number"])))
        content = content[:size].ljust(size, b"\0")
        for block, place in places.items():
            if place is None:
                content[block * BLOCK : (block + 1) * BLOCK] = bytes(BLOCK)
                continue
            name, slot = place
            if name not in packs:
                packs[name] = self.pack(name)
            content[block * BLOCK : (block + 1) * BLOCK] = packs[name][0][slot]
        return content


def main():
    folder, keyring, tenant, disk, *number, output = sys.argv[1:]
    store = Store(folder, json.loads(Path(keyring).read_text()), tenant)
    if "/" in disk:
        description, content = store.attachment(*disk.split("/"))
        Path(output).write_bytes(content)
        print(description.decode())
        return
    manifest = store.manifest(disk, int(number[0]) if number else None)
    Path(output).write_bytes(store.read(manifest))
    print(json.dumps(manifest))


main()
