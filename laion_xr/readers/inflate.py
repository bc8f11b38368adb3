"""Opens a stream of bytes that may be gzip: whether it is, its first bytes say and not its name.

Inflates with zlib-ng, else isal, else the standard library. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import functools
import gzip
import importlib
import io
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, cast

from laion_xr.errors import CorruptFileError
from laion_xr.readers.pointers import raise_if_pointer

GZIP_MAGIC = b"\x1f\x8b"
# Modules with the interface of gzip, the fastest first, and where the errors of their inflate live.
CODECS = (("zlib_ng.gzip_ng", "zlib_ng.zlib_ng"), ("isal.igzip", "isal.isal_zlib"), ("gzip", "zlib"))
# What is read and dropped at a time; larger blocks fall out of the processor's cache.
SKIP_BLOCK = 1 << 20
_HEAD = 512


@functools.cache
def codec(names: tuple[tuple[str, str], ...] = CODECS) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return the first gzip module that is installed, and the errors that broken data raise in it."""
    for module_name, errors_name in names:
        try:
            module = importlib.import_module(module_name)
            error = importlib.import_module(errors_name).error
        except ImportError:
            continue
        return module, (EOFError, gzip.BadGzipFile, zlib.error, error)
    raise ImportError(f"none of {[name for name, _ in names]} can be imported")


class InflatedFile:
    """The inflated bytes of a stream, forward only. It owns the stream and closes it.

    `position` counts inflated bytes. `locate` turns a position into words for messages; a reader that knows what
    the bytes mean sets it.
    """

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self.name = name
        self.position = 0
        self.locate: Callable[[int], str] = "after {:,} inflated bytes".format
        self._raw = raw
        head = self._exactly(raw, _HEAD)
        if not head:
            raise CorruptFileError(f"{name} is empty (0 bytes): download it again.")
        raise_if_pointer(head, name)
        self.is_gzip = head.startswith(GZIP_MAGIC)
        whole = _rewound(raw, head)
        # size of a file that is not compressed and can seek, else None
        self.plain_size: int | None = None
        if not self.is_gzip and raw.seekable():
            self.plain_size = raw.seek(0, io.SEEK_END)
            raw.seek(0)
        self._errors: tuple[type[Exception], ...] = ()
        self._file = whole
        if self.is_gzip:
            module, self._errors = codec()
            self._file = cast(BinaryIO, module.open(whole))
        # GzipFile.readinto makes an object of what it reads, and copies that; what it buffers with does not. New memory
        # for each block costs more than inflating into it where the C library gives back at once what is free, as the
        # workers of distributed ask it to.
        readable = getattr(self._file, "_buffer", self._file) if self.is_gzip else self._file
        self._readinto: Callable[[memoryview], int | None] | None = getattr(readable, "readinto", None)
        self._skipped: bytearray | None = None

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end of the data.

        Raises
        ------
        CorruptFileError
            The gzip stream is truncated, or damaged, or its checksum fails, or something follows it.
        """
        try:
            data = self._file.read(size) if self.is_gzip else self._exactly(self._file, size)
        except self._errors as error:
            raise self._corrupt(error) from None
        self.position += len(data)
        return data

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer with the next bytes; return how many, fewer than it holds only at the end of the data.

        Raises
        ------
        CorruptFileError
            As `read`.
        """
        done = 0
        try:
            while done < len(buffer):
                if self._readinto is not None:
                    n = self._readinto(buffer[done:]) or 0
                else:
                    data = self._file.read(len(buffer) - done)
                    n = len(data)
                    buffer[done : done + n] = data
                if not n:
                    break
                done += n
        except self._errors as error:
            raise self._corrupt(error) from None
        self.position += done
        return done

    def _skip(self, size: int) -> int:
        if self._skipped is None:
            self._skipped = bytearray(SKIP_BLOCK)
        return self.read_into(memoryview(self._skipped)[: min(size, SKIP_BLOCK)])

    def skip_to(self, position: int) -> bool:
        """Go forward to a position; False where the data end before it."""
        if self.position < position and self.plain_size is not None:
            self._raw.seek(position)
            self.position = position
        while self.position < position:
            if not self._skip(position - self.position):
                return False
        return True

    def drain(self) -> int:
        """Read to the end, so that the checksum is checked; return the number of bytes that were left."""
        start = self.position
        while self._skip(SKIP_BLOCK):
            pass
        return self.position - start

    def close(self) -> None:
        """Close the stream."""
        self._file.close()
        self._raw.close()

    def __enter__(self) -> InflatedFile:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the stream."""
        self.close()

    def _corrupt(self, error: Exception) -> CorruptFileError:
        where = self.locate(self.position)
        if isinstance(error, EOFError):
            return CorruptFileError(
                f"{self.name} is truncated: its gzip stream breaks off {where}, or something else follows it. "
                "Download it again."
            )
        return CorruptFileError(f"{self.name} is corrupt: {error} ({where}). Download it again.")

    @staticmethod
    def _exactly(file: BinaryIO, size: int) -> bytes:
        # an unbuffered file may return less than was asked for before its end
        data = file.read(size)
        if len(data) == size or not data:
            return data
        parts = [data]
        missing = size - len(data)
        while missing and (more := file.read(missing)):
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)


def open_inflated(stream: BinaryIO, name: str) -> InflatedFile:
    """Return the inflated bytes of a stream at its beginning; the stream is closed with the result, or on error.

    Parameters
    ----------
    stream
        An open stream at its beginning; it need not be seekable.
    name
        Full address of the file, for messages.

    Returns
    -------
    A forward reader of the inflated bytes: of the file itself where it is not gzip.

    Raises
    ------
    CorruptFileError
        The file is empty.
    FileFormatError
        The file is a git-LFS or git-annex pointer.
    """
    try:
        return InflatedFile(stream, name)
    except BaseException:
        stream.close()
        raise


def inflate_head(data: bytes, size: int) -> bytes:
    """Return up to `size` inflated bytes of the beginning of a file, of which `data` are the first bytes.

    Damage is not an error here: what can be inflated is returned.
    """
    if not data.startswith(GZIP_MAGIC):
        return data[:size]
    out = b""
    while data.startswith(GZIP_MAGIC) and len(out) < size:
        inflater = zlib.decompressobj(wbits=31)
        try:
            out += inflater.decompress(data, size - len(out))
        except zlib.error:
            break
        data = inflater.unused_data
    return out


class _Chained(io.RawIOBase):
    """A head that was read already, then the rest of a stream that cannot go back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._head:
            n = min(len(view), len(self._head))
            view[:n] = self._head[:n]
            self._head = self._head[n:]
            return n
        return cast(io.RawIOBase, self._rest).readinto(view) or 0


def _rewound(raw: BinaryIO, head: bytes) -> BinaryIO:
    if raw.seekable():
        raw.seek(-len(head), io.SEEK_CUR)
        return raw
    return cast(BinaryIO, _Chained(head, raw))
