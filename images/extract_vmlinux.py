"""Writes the compressed ELF kernel that is inside a bzImage to stdout (Linux, Documentation/arch/x86/boot.rst)."""
import struct
import sys

image = open(sys.argv[1], "rb").read()
if image[0x202:0x206] != b"HdrS":
    sys.exit(f"{sys.argv[1]}: not a bzImage")
setup_sectors = image[0x1F1] or 4
offset, length = struct.unpack_from("<II", image, 0x248)
start = (setup_sectors + 1) * 512 + offset
payload = image[start : start + length]
if payload[:4] != b"\x28\xb5\x2f\xfd":
    sys.exit(f"{sys.argv[1]}: the payload is not zstd")
# The build appends the uncompressed size in four bytes that are no part of the stream.
sys.stdout.buffer.write(payload[:-4])
