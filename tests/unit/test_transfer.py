"""One file from a source that misbehaves: whole or not there, and never outside of its folder."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from laion_xr import remote
from laion_xr.access import transfer, watch
from laion_xr.access.checksums import MIB, matches, part_sizes
from laion_xr.access.partial import Partial, merged
from laion_xr.access.transfer import Outcome, RefusedError, fetch_file, safe_target
from laion_xr.access.watch import StoppedError
from laion_xr.errors import CorruptFileError, DataNotDownloadedError, UnreachableError, UnsafePathError

BLOCK = 1 << 18


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again as often as ever, and sooner."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.002)


@dataclass
class Faulty:
    """A source that fails as told; it keeps where it was asked to begin."""

    data: bytes
    name: str = "bucket/file"
    checksum: tuple[str, str] | None = None
    validator: str | None = "v1"
    said: int | None = -1
    failures: list[Exception] = field(default_factory=list)
    after: int = 1  # blocks before it fails
    asked: list[int] = field(default_factory=list)

    @property
    def size(self) -> int | None:
        return len(self.data) if self.said == -1 else self.said

    def open(self, start: int) -> Iterator[bytes]:
        self.asked.append(start)
        for n, i in enumerate(range(start, len(self.data), BLOCK)):
            if n >= self.after and self.failures:
                raise self.failures.pop(0)
            yield self.data[i : i + BLOCK]


@dataclass
class Ranged(Faulty):
    """The same, in parts."""

    parts: list[tuple[int, int]] = field(default_factory=list)

    def part(self, start: int, end: int) -> Iterator[bytes]:
        self.parts.append((start, end))
        for n, i in enumerate(range(start, end, BLOCK)):
            if n >= self.after and self.failures:
                raise self.failures.pop(0)
            yield self.data[i : min(i + BLOCK, end)]


def some(n: int) -> bytes:
    return hashlib.shake_128(b"x").digest(n)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [0, 1, BLOCK, 3 * BLOCK + 7])
def test_file_and_nothing_else(tmp_path: Path, size: int) -> None:
    source, counted = Faulty(some(size)), list[int]()
    assert fetch_file(source, tmp_path / "a" / "f", progress=counted.append) is Outcome.FETCHED
    assert (tmp_path / "a" / "f").read_bytes() == some(size)
    assert left(tmp_path / "a") == ["f"]
    assert sum(counted) == size
    assert fetch_file(source, tmp_path / "a" / "f") is Outcome.PRESENT
    assert len(source.asked) == (size > 0)


def test_going_on_after_a_break(tmp_path: Path) -> None:
    resets = [ConnectionResetError("reset") for _ in range(5)]
    source, counted = Faulty(some(20 * BLOCK), failures=resets), list[int]()
    fetch_file(source, tmp_path / "f", progress=counted.append)
    assert (tmp_path / "f").read_bytes() == source.data
    assert source.asked == [n * BLOCK for n in range(6)]
    assert sum(counted) == len(source.data)


def test_breaks_without_end(tmp_path: Path) -> None:
    source = Faulty(some(4 * BLOCK), failures=[ConnectionResetError("reset")] * 99, after=0)
    with pytest.raises(UnreachableError, match=r"bucket/file.*attempts"):
        fetch_file(source, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    source.failures.clear()
    fetch_file(source, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == source.data


def test_a_long_download_may_break_more_often_than_anything_is_tried(tmp_path: Path) -> None:
    # a connection that gave a megabyte has not failed
    source = Faulty(some(24 * MIB), failures=[ConnectionResetError("reset")] * 3 * remote.ATTEMPTS, after=4)
    fetch_file(source, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == source.data
    assert len(source.asked) == 1 + 3 * remote.ATTEMPTS


def test_truncated_answers_are_not_accepted(tmp_path: Path) -> None:
    source = Faulty(some(3 * BLOCK), said=4 * BLOCK)
    with pytest.raises(UnreachableError, match="ended after"):
        fetch_file(source, tmp_path / "f")
    with pytest.raises(CorruptFileError, match="longer"):
        fetch_file(Faulty(some(3 * BLOCK), said=2 * BLOCK, validator="v2"), tmp_path / "f")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("error", "raised"), [(PermissionError("no"), RefusedError), (FileNotFoundError("gone"), DataNotDownloadedError)]
)
def test_what_does_not_pass_is_asked_once(tmp_path: Path, error: Exception, raised: type[Exception]) -> None:
    source = Faulty(some(BLOCK), failures=[error] * 9, after=0)
    with pytest.raises(raised, match="bucket/file"):
        fetch_file(source, tmp_path / "f")
    assert len(source.failures) == 8


@pytest.mark.parametrize("kind", ["sha256", "md5", "etag"])
def test_checksums(tmp_path: Path, kind: str) -> None:
    data = some(5 * BLOCK)
    right = hashlib.new("sha256" if kind == "sha256" else "md5", data).hexdigest()
    fetch_file(Faulty(data, checksum=(kind, right)), tmp_path / "right")
    assert (tmp_path / "right").read_bytes() == data
    source, counted = Faulty(data, checksum=(kind, "0" * len(right))), list[int]()
    with pytest.raises(CorruptFileError, match="3 times"):
        fetch_file(source, tmp_path / "wrong", progress=counted.append)
    assert source.asked == [0, 0, 0]
    assert left(tmp_path) == ["right"]
    assert sum(counted) == 0


@pytest.mark.parametrize("part", [5, 8, 16])
def test_etag_of_an_upload_in_parts(tmp_path: Path, part: int) -> None:
    data = some(40 * MIB + 5)
    (tmp_path / "f").write_bytes(data)
    parts = [data[i : i + part * MIB] for i in range(0, len(data), part * MIB)]
    etag = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest()
    assert matches(tmp_path / "f", ("etag", f"{etag}-{len(parts)}")) is True
    assert part * MIB in part_sizes(len(data), len(parts))
    # parts of a size that nobody can guess: the size has to do
    assert matches(tmp_path / "f", ("etag", f"{'0' * 32}-{len(parts)}")) is None
    assert matches(tmp_path / "f", ("etag", "0" * 32)) is False


def test_parts_at_once_and_what_a_kill_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "IN_PARTS_FROM", 4 * MIB)
    monkeypatch.setattr(transfer, "PART", 4 * MIB)
    source = Ranged(some(18 * MIB + 3), failures=[ConnectionResetError("reset")] * 3, after=5)
    # what a killed process has left: bytes here and there, and its record
    with Partial(tmp_path / "f", "v1", source.size) as partial:
        partial.write(5 * MIB, source.data[5 * MIB : 7 * MIB])
    counted: list[int] = []
    fetch_file(source, tmp_path / "f", progress=counted.append)
    assert (tmp_path / "f").read_bytes() == source.data
    assert not any(start < 7 * MIB and end > 5 * MIB for start, end in source.parts)
    assert sum(counted) == len(source.data)
    assert left(tmp_path) == ["f"]


@pytest.mark.parametrize("other", [{"identity": "v0"}, {"size": 5}, {"done": [[0, 1 << 60]]}, {"done": "?"}])
def test_a_partial_of_something_else_is_dropped(tmp_path: Path, other: dict[str, object]) -> None:
    source = Faulty(some(4 * MIB))
    (tmp_path / ".f.partial").write_bytes(bytes(3 * MIB))
    record = {"identity": "v1", "size": source.size, "done": [[0, 3 * MIB]], **other}
    (tmp_path / ".f.partial.json").write_text(json.dumps(record))
    fetch_file(source, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == source.data
    assert source.asked == [0]


def test_a_partial_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".f.partial").symlink_to(tmp_path / "mine")
    with pytest.raises(PermissionError):
        fetch_file(Faulty(some(10)), tmp_path / "data" / "f")
    assert (tmp_path / "mine").read_text() == "mine"


def test_stopped_and_waiting(tmp_path: Path) -> None:
    stop = threading.Event()
    source = Faulty(some(30 * BLOCK))
    with pytest.raises(StoppedError, match="run the same again"):
        fetch_file(source, tmp_path / "f", progress=lambda n: stop.set(), stop=stop)
    assert not (tmp_path / "f").exists()
    # another process holds the lock: waiting ends too
    with FileLock(tmp_path / ".f.lock"), pytest.raises(StoppedError):
        fetch_file(source, tmp_path / "f", stop=stop)


def test_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(watch, "SECONDS_OF_SILENCE", 0.3)
    silent, release = [1], threading.Event()

    class Silent(Faulty):
        def open(self, start: int) -> Iterator[bytes]:
            if silent.pop() if silent else 0:
                release.wait(30)
            yield from super().open(start)

    source = Silent(some(2 * BLOCK))
    fetch_file(source, tmp_path / "f")
    release.set()
    assert (tmp_path / "f").read_bytes() == source.data
    assert "no bytes for" in caplog.text


@pytest.mark.parametrize("path", ["a/b.txt", "derivatives/x-1/..y", "a b/ü"])
def test_safe_paths(tmp_path: Path, path: str) -> None:
    assert safe_target(tmp_path, path) == tmp_path / path


@given(st.text(alphabet="ab./\\:\0\nC~", max_size=12))
def test_no_path_leaves_the_folder(text: str) -> None:
    root = Path("/root-of-nothing/data")
    try:
        found = safe_target(root, text)
    except UnsafePathError:
        return
    assert found.resolve().is_relative_to(root)
    assert found != root


def test_links_inside_the_folder_are_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert safe_target(tmp_path, "link/f") == tmp_path / "link" / "f"
    (tmp_path / "out").symlink_to(tmp_path.parent, target_is_directory=True)
    with pytest.raises(UnsafePathError):
        safe_target(tmp_path, "out/f")


def test_a_link_that_leaves_says_what_to_do(tmp_path: Path) -> None:
    root, disk = tmp_path / "data", tmp_path / "disk"
    root.mkdir()
    (disk / "stimuli").mkdir(parents=True)
    (root / "stimuli").symlink_to(disk / "stimuli")
    with pytest.raises(UnsafePathError, match="is read through the link") as caught:
        safe_target(root, "stimuli/images.h5")
    assert f"Download it with {str(disk)!r} as the data folder" in str(caught.value)
    # done so, it lies where the link leads
    safe_target(disk, "stimuli/images.h5").write_text("images")
    assert (root / "stimuli" / "images.h5").read_text() == "images"
    (root / "derivatives").symlink_to(disk)  # named otherwise
    with pytest.raises(UnsafePathError, match=r"Let the link lead to a folder 'derivatives'"):
        safe_target(root, "derivatives/x/f")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda x: (x[0], x[0] + x[1]))))
def test_merged_ranges_hold_the_same_bytes(ranges: list[tuple[int, int]]) -> None:
    expected = {n for start, end in ranges for n in range(start, end)}
    found = merged(ranges)
    assert {n for start, end in found for n in range(start, end)} == expected
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
