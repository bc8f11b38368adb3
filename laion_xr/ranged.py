"""A file that is read in ranges, seekable: what HDF5 wants of a file that is not on this machine."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable

# Larger than most chunks of the dataset's HDF5 files, and worth a request; 64 MB at most are held a file
BLOCK, BLOCKS = 4 << 20, 16


class RangedFile(io.RawIOBase):
    """A read-only file over a function that returns a range of its bytes; the blocks used last are kept.

    Parameters
    ----------
    fetch
        Returns the bytes from a position up to another.
    size
        Size in bytes.
    name
        Full address, for messages.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, name: str) -> None:
        super().__init__()
        self.name = name
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Return True: the file is for reading."""
        return True

    def seekable(self) -> bool:
        """Return True: every range can be asked for."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position and return it."""
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if target < 0:
            raise ValueError(f"{self.name}: position {target} is before its beginning")
        self._position = target
        return target

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer; with less only where the file ends."""
        if self.closed:  # the base class leaves this to its subclasses
            raise ValueError(f"{self.name} is closed")
        start, end = self._position, min(self._position + len(buffer), self._size)
        if end <= start:
            return 0
        first = start // BLOCK
        data = b"".join(self._block(n) for n in range(first, (end - 1) // BLOCK + 1))
        data = data[start - first * BLOCK : end - first * BLOCK]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Drop what was fetched."""
        self._blocks.clear()
        super().close()

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
        else:
            self._blocks[number] = self._fetch(number * BLOCK, min((number + 1) * BLOCK, self._size))
            if len(self._blocks) > BLOCKS:
                self._blocks.popitem(last=False)
        return self._blocks[number]
