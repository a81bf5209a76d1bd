"""Pages of SQLite's databases, changed directly, with correct checksums of its checksum VFS."""

import struct

from retrieval_store.engine.sqlite import CHECKSUM_BYTES

PAGE = 4096


def words_sum(data, order="<", start=(0, 0)):
    """SQLite's checksum of its log, and of pages in the checksum VFS: two sums of 32-bit words."""
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def sealed(page):
    """A page with a correct checksum."""
    content = bytes(page[: PAGE - CHECKSUM_BYTES])
    return content + struct.pack("<II", *words_sum(content))


class Pages:
    """The pages of a database file, numbered from 1; they are written at the end of `with`."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        data = self.file.read_bytes()
        self.before = [data[i : i + PAGE] for i in range(0, len(data), PAGE)]
        self.pages = [bytearray(page) for page in self.before]
        return self

    def __exit__(self, *error):
        pairs = zip(self.before, self.pages, strict=True)
        self.file.write_bytes(b"".join(a if a == b else sealed(b) for a, b in pairs))

    def __getitem__(self, number):
        return self.pages[number - 1]

    def __len__(self):
        return len(self.pages)

    @property
    def inner(self):
        """The numbers of pages with child pages."""
        return [n for n in range(2, len(self) + 1) if self[n][0] in (2, 5)]
