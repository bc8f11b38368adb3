"""Inflating: the same bytes and the same errors with each of the three gzip modules."""

from __future__ import annotations

import gzip
import io
import itertools
import tracemalloc
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.readers import inflate
from laion_xr.readers.inflate import CODECS, codec, inflate_head, open_inflated

CONTENT = np.random.default_rng(0).integers(0, 50, 3_000_000, dtype=np.uint8).tobytes()
GZIPPED = gzip.compress(CONTENT, 1)


class Trickle(io.RawIOBase):
    """A stream that cannot go back and returns less than it is asked for."""

    def __init__(self, data: bytes, at_most: int = 1000) -> None:
        self._rest, self._at_most = data, at_most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = min(len(buffer), self._at_most, len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


@pytest.fixture(params=CODECS, ids=lambda names: names[0])
def one_codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(request.param[0])
    monkeypatch.setattr(inflate, "codec", lambda: codec((request.param,)))


def stream(data: bytes, trickle: bool = False) -> BinaryIO:
    return cast(BinaryIO, Trickle(data)) if trickle else io.BytesIO(data)


def test_the_fastest_module_that_is_there() -> None:
    assert codec()[0].__name__ == "zlib_ng.gzip_ng"
    assert codec((("no_such_module", "no_such_module"), *CODECS[1:]))[0].__name__ == "isal.igzip"
    assert codec((("no_such_module", "no_such_module"), CODECS[2]))[0] is gzip
    with pytest.raises(ImportError, match="no_such_module"):
        codec((("no_such_module", "no_such_module"),))


@pytest.mark.usefixtures("one_codec")
@pytest.mark.parametrize("trickle", [False, True])
@pytest.mark.parametrize(
    "data", [CONTENT, GZIPPED, gzip.compress(CONTENT[:10], mtime=0) + gzip.compress(CONTENT[10:], mtime=0)]
)
def test_gzip_or_plain_by_the_first_bytes(data: bytes, trickle: bool) -> None:
    raw = stream(data, trickle)
    with open_inflated(raw, "x.bin") as file:
        assert file.is_gzip == (data is not CONTENT)
        assert file.plain_size == (len(CONTENT) if data is CONTENT and not trickle else None)
        assert file.read(5) == CONTENT[:5]
        assert file.read(1_500_000) == CONTENT[5:1_500_005]
        assert file.skip_to(2_000_000)
        assert file.read(10) == CONTENT[2_000_000:2_000_010]
        assert file.position == 2_000_010
        assert file.drain() == len(CONTENT) - 2_000_010
        assert file.read(1) == b""
        assert not file.skip_to(len(CONTENT) + 1) or file.plain_size is not None
    assert raw.closed


@pytest.mark.usefixtures("one_codec")
@pytest.mark.parametrize("trickle", [False, True])
@pytest.mark.parametrize("data", [CONTENT, GZIPPED], ids=["plain", "gzip"])
def test_read_into_fills_a_buffer(data: bytes, trickle: bool) -> None:
    room = bytearray(700_000)
    with open_inflated(stream(data, trickle), "x.bin") as file:
        assert file.read(7) == CONTENT[:7]
        found = b""
        while n := file.read_into(memoryview(room)):
            assert n == 700_000 or file.position == len(CONTENT)
            found += room[:n]
        assert found == CONTENT[7:]
        assert file.position == len(CONTENT)
        assert file.read_into(memoryview(room)) == 0


@pytest.mark.usefixtures("one_codec")
def test_read_into_makes_no_memory_of_its_own() -> None:
    room = memoryview(bytearray(1 << 20))
    with open_inflated(stream(GZIPPED), "x.bin") as file:
        file.read_into(room)
        tracemalloc.start()
        try:
            while file.read_into(room):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 1 << 18


@pytest.mark.usefixtures("one_codec")
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (GZIPPED[:-20], "truncated"),
        (GZIPPED[:-1], "truncated"),
        (GZIPPED[:7], "truncated"),
        (GZIPPED + b"trailing", "truncated|corrupt: Not a gzipped file"),
        (GZIPPED[:-8] + b"\0\0\0\0" + GZIPPED[-4:], "corrupt: CRC"),
        (GZIPPED[:-4] + b"\0\0\0\0", "corrupt: Incorrect length"),
        (GZIPPED[:10] + b"\xff\xff\xff" + GZIPPED[13:], "corrupt"),
    ],
)
@pytest.mark.parametrize("trickle", [False, True])
def test_damage_is_one_kind_of_error(data: bytes, match: str, trickle: bool) -> None:
    with open_inflated(stream(data, trickle), "s3://b/x.nii.gz") as file:
        file.locate = "around byte {}".format
        with pytest.raises(CorruptFileError, match=rf"s3://b/x\.nii\.gz is ({match}).*around byte \d+.*Download it"):
            file.drain()


@pytest.mark.usefixtures("one_codec")
def test_zero_padding_is_allowed() -> None:
    with open_inflated(io.BytesIO(GZIPPED + bytes(1000)), "x") as file:
        assert file.drain() == len(CONTENT)


def test_the_stream_is_closed_when_opening_fails() -> None:
    for data, error in ((b"", CorruptFileError), (b"version https://git-lfs...", FileFormatError)):
        raw = io.BytesIO(data)
        with pytest.raises(error, match=r"x\.nii"):
            open_inflated(raw, "x.nii")
        assert raw.closed


@given(
    content=st.binary(max_size=2000),
    cuts=st.lists(st.integers(0, 2000), max_size=3),
    fetched=st.integers(0, 3000),
    size=st.integers(0, 600),
)
def test_inflate_head_returns_a_prefix(content: bytes, cuts: list[int], fetched: int, size: int) -> None:
    edges = [0, *sorted(cuts), len(content)]
    data = b"".join(gzip.compress(content[a:b]) for a, b in itertools.pairwise(edges))
    head = inflate_head(data[:fetched], size)
    assert content.startswith(head) or not data[:fetched].startswith(b"\x1f\x8b")
    assert len(head) <= max(size, 1)
    if fetched >= len(data):
        assert head == content[:size]


def test_inflate_head_of_other_files_and_of_damage() -> None:
    assert inflate_head(b"plain text", 5) == b"plain"
    assert inflate_head(b"\x1f\x8b" + bytes(50), 5) == b""
