"""Prints the SHA-256 of a sparse image over its blocks of 64 KiB that are not all zero, each preceded by its offset.

The offset is 8 bytes, little-endian. The result depends on the image's bytes alone, not on where its file has holes,
and costs only what is really in it: hashing 16 GiB of mostly nothing would take longer than building the image.
"""
import hashlib
import os
import sys

BLOCK = 65536
ZERO = bytes(BLOCK)


def data_blocks(descriptor, size):
    """Yields (offset, bytes) of every block in which the file has data; the last block may be short."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        position = max(position, start // BLOCK * BLOCK)
        while position < end:
            yield position, os.pread(descriptor, BLOCK, position)
            position += BLOCK


def main(path):
    descriptor = os.open(path, os.O_RDONLY)
    digest = hashlib.sha256()
    for offset, block in data_blocks(descriptor, os.fstat(descriptor).st_size):
        if block != ZERO[: len(block)]:
            digest.update(offset.to_bytes(8, "little") + block)
    print(digest.hexdigest())


main(sys.argv[1])
