"""Remote streams: each byte fetched once, ahead of its use, in bounded memory, and no longer than asked for."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import DataNotDownloadedError, FileAccessError
from laion_xr.location import FileEntry, Location
from laion_xr.readers import stream
from laion_xr.readers.stream import AHEAD, RangeFetcher, ReadAheadFile, open_stream, size_of

CONTENT = np.random.default_rng(0).bytes(300_000)
ENTRY = FileEntry("f.bin", len(CONTENT), "")
MEMORY = fsspec.filesystem("memory")


class Recorder:
    """Every range that was asked for, and how many were under way at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pause: float = 0.0) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        real = type(MEMORY).cat_file

        def cat_file(fs: Any, path: str, start: int, end: int) -> bytes:
            with self._lock:
                self._now += 1
                self.most = max(self.most, self._now)
                self.ranges.append((start, end))
            try:
                time.sleep(pause)
                return real(fs, path, start=start, end=end)
            finally:
                with self._lock:
                    self._now -= 1

        monkeypatch.setattr(type(MEMORY), "cat_file", cat_file)


def fetch_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("laion-xr-fetch")]


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Location]:
    monkeypatch.setattr(stream, "FIRST_BLOCK", 1000)
    location = Location.of("memory://stream-test")
    with location.fs.open(location.at(ENTRY.path), "wb") as file:
        file.write(CONTENT)
    yield location
    assert not fetch_threads()
    with contextlib.suppress(FileNotFoundError):
        location.fs.rm(location.url, recursive=True)


def test_streamed_once_in_order_with_reads_ahead(remote: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, pause=0.005)
    monkeypatch.setattr(tempfile, "mkstemp", None)  # nothing is downloaded to a temporary file
    with ReadAheadFile(remote, ENTRY, block=20_000) as file:
        assert file.readable()
        assert not file.seekable()
        assert b"".join(iter(lambda: file.read(7_000), b"")) == CONTENT
        assert file.read(1) == b""
        assert not fetch_threads()  # the end was reached
    ranges = sorted(recorder.ranges)
    assert ranges[0] == (0, 1000)
    assert [b for _, b in ranges[:-1]] == [a for a, _ in ranges[1:]]  # each byte once
    assert 1 < recorder.most <= AHEAD


def test_memory_is_bounded(remote: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    with ReadAheadFile(remote, ENTRY, block=10_000) as file:
        for used in range(0, 100_000, 500):
            file.read(500)
            assert max(end for _, end in recorder.ranges) <= used + (AHEAD + 1) * 10_000 + 1000


def test_the_beginning_costs_one_short_request(remote: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    with ReadAheadFile(remote, ENTRY, block=20_000) as file:
        file.read(348)
    assert recorder.ranges == [(0, 1000)]


def test_closing_early_stops_fetching(remote: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, pause=0.01)
    with ReadAheadFile(remote, ENTRY, block=1_000) as file:
        for _ in range(10):
            file.read(1000)
        assert fetch_threads()
    assert not fetch_threads()
    assert len(recorder.ranges) <= 10 + AHEAD
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    file.close()


def test_ranges_in_any_order(remote: Location) -> None:
    ranges = [(5, 10), (200_000, 300_000), (0, 1), (7, 9)]
    with RangeFetcher(remote, ENTRY, iter(ranges)) as blocks:
        assert list(blocks) == [CONTENT[a:b] for a, b in ranges]
        assert list(blocks) == []


def test_no_range_is_no_request(remote: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    with RangeFetcher(remote, ENTRY, []) as blocks:
        assert list(blocks) == []
    assert recorder.ranges == []


def test_a_failing_request_is_raised_and_ends_the_threads(remote: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def cat_file(*args: Any, start: int, end: int) -> bytes:
        if next(calls) == 3:
            raise OSError("connection reset")
        return CONTENT[start:end]

    monkeypatch.setattr(type(MEMORY), "cat_file", cat_file)
    with ReadAheadFile(remote, ENTRY, block=1000) as file, pytest.raises(OSError, match="connection reset"):
        file.readall()
    assert not fetch_threads()


def test_a_server_without_ranges(remote: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(MEMORY), "cat_file", lambda *args, start, end: CONTENT)
    with open_stream(remote, ENTRY) as file, pytest.raises(FileAccessError, match=r"f\.bin.*does not answer range"):
        file.read(10)


def test_a_listing_without_sizes(remote: Location) -> None:
    unknown = ENTRY._replace(size=0)
    assert size_of(remote, unknown) == len(CONTENT)
    with open_stream(remote, unknown) as file:
        assert file.read() == CONTENT
    with pytest.raises(DataNotDownloadedError, match="gone is not there"):
        size_of(remote, FileEntry("gone", 0, ""))


def test_missing_and_denied(remote: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = FileEntry("gone.bin", 10, "")
    with pytest.raises(DataNotDownloadedError, match=r"gone\.bin is not there"):
        open_stream(Location.of(tmp_path), gone)
    with open_stream(remote, gone) as file, pytest.raises(DataNotDownloadedError, match=r"gone\.bin is not there"):
        file.read(1)

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError

    monkeypatch.setattr("laion_xr.location.open", denied, raising=False)
    monkeypatch.setattr(type(MEMORY), "cat_file", denied)
    monkeypatch.setattr(type(MEMORY), "size", denied)
    with pytest.raises(FileAccessError, match=r"f\.bin may not be read"):
        open_stream(Location.of(tmp_path), ENTRY)
    with open_stream(remote, ENTRY) as file, pytest.raises(FileAccessError, match=r"f\.bin may not be read"):
        file.read(1)
    with pytest.raises(FileAccessError, match=r"f\.bin may not be read"):
        size_of(remote, ENTRY._replace(size=0))


def test_a_local_file_is_opened_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(CONTENT)
    with open_stream(Location.of(tmp_path), ENTRY) as file:
        assert file.seekable()
        assert file.read(10) == CONTENT[:10]


@given(size=st.integers(0, 50_000), block=st.integers(1, 10_000), reads=st.lists(st.integers(1, 9_000), max_size=20))
def test_any_size_block_and_reads(size: int, block: int, reads: list[int]) -> None:
    location = Location.of("memory://stream-any")
    entry = FileEntry("f.bin", size, "")
    with location.fs.open(location.at("f.bin"), "wb") as file:
        file.write(CONTENT[:size])
    if block < 100:
        block *= 100
    with open_stream(location, entry) if size == 0 else ReadAheadFile(location, entry, block) as file:
        at = 0
        for n in reads:
            data = file.read(n)
            assert data == CONTENT[at : min(at + len(data), size)]
            assert data or at == size
            at += len(data)
        assert file.read() == CONTENT[at:size]
