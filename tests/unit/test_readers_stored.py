"""Reading picks from chunks in any order, what is not there any more, and what is damaged."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import BloscCodec, Crc32cCodec

from laion_xr.errors import CorruptFileError, FileAccessError, FileFormatError, StoreError
from laion_xr.location import Location
from laion_xr.readers import stored as module
from laion_xr.readers import zarrarrays
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.readers.stored import RECORD, StoredReader
from laion_xr.readers.zarrarrays import LOST
from laion_xr.store.checksum import crc32, digest

GRID_SIZE = 60
IDS = np.random.default_rng(0).permutation(GRID_SIZE)[:40]


def write(root: Path, betas: np.ndarray, ids: np.ndarray = IDS, chunks: tuple[int, int] = (4, 7)) -> StoredReader:
    """A session written by hand, and its reader."""
    group = zarr.open_group(root / "sub-03/ses-01", mode="w")
    group.create_array("voxel", data=ids.astype(np.int64))
    array = group.create_array(
        "betas",
        shape=betas.shape,
        dtype=betas.dtype,
        chunks=chunks,
        compressors=[BloscCodec(typesize=4, cname="lz4"), Crc32cCodec()],
        fill_value=LOST,
        config={"write_empty_chunks": True},
    )
    array[...] = betas
    zarr.consolidate_metadata(group.store, path=group.path)
    group = zarr.open_group(root / "sub-03/ses-01", mode="r+")
    checksums = {"voxel": crc32(ids.astype(np.int64)), "betas": [crc32(betas)]}
    group.update_attributes({RECORD: {"checksum": digest(checksums), "checksums": checksums}})
    return StoredReader(Location.of(root), "sub-03/ses-01", (len(betas), GRID_SIZE), digest(checksums))


def values(seed: int = 0, n: int = 11) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, len(IDS))).astype(np.float32)


@pytest.fixture(params=["files", "zarr"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How chunks are read: from their files, or by Zarr, as those are that are not on this machine."""
    if request.param == "zarr":
        monkeypatch.setattr(ChunkFiles, "of", lambda *arguments: None)
    return request.param


@pytest.fixture
def reader(tmp_path: Path) -> StoredReader:
    return write(tmp_path, values())


def folder(reader: StoredReader) -> Path:
    return Path(reader.location.url) / reader.path


# picks


@st.composite
def picks(draw: Any) -> tuple[np.ndarray, tuple[int, int], list[int], list[int]]:
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 20)))
    # every bit pattern: NaN of any payload, and the fill value itself
    bits = draw(hnp.arrays(np.uint32, shape, elements=st.integers(0, 2**32 - 1), fill=st.sampled_from([0, 4286578687])))
    chunks = (draw(st.integers(1, 10)), draw(st.integers(1, 21)))
    rows = draw(st.lists(st.integers(0, shape[0] - 1), min_size=1, max_size=15))
    columns = draw(st.lists(st.integers(0, shape[1] - 1), min_size=1, max_size=30))
    return bits.view(np.float32), chunks, rows, columns


@given(picks(), st.integers(1, 4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pick_of_any_chunks(
    way: str,
    tmp_path: Path,
    pick: tuple[np.ndarray, tuple[int, int], list[int], list[int]],
    wide: int,
) -> None:
    betas, chunks, rows, columns = pick
    chunks = (min(chunks[0], len(betas)), min(chunks[1], betas.shape[1]))
    ids = IDS[: betas.shape[1]]
    reader = write(tmp_path, betas, ids, chunks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarrarrays, "BLOCK_BYTES", 4 * chunks[0] * chunks[1] * wide)
        out = reader.read(np.array(rows), ids[columns])
    np.testing.assert_array_equal(out.view(np.uint32), betas[rows][:, columns].view(np.uint32))


@pytest.mark.parametrize("columns", [[0, 0, 2], [2, 0, 0], [1, 1], [3, 5, 5, 4, 3], [6, 7, 7, 9, 13, 13]])
def test_repeated_voxels_are_no_stretch(reader: StoredReader, columns: list[int]) -> None:
    # as many as a stretch from the first to the last, and not that stretch
    np.testing.assert_array_equal(reader.read(slice(None), IDS[columns]), values()[:, columns])


def test_threads_and_arrays_do_not_share_memory_that_is_used_again(tmp_path: Path) -> None:
    shapes, expected = [(4, 7), (2, 14), (11, 40), (3, 5), (4, 7)], [values(seed) for seed in range(5)]
    readers = [write(tmp_path / str(i), v, chunks=s) for i, (s, v) in enumerate(zip(shapes, expected, strict=True))]

    def read(n: int) -> bool:
        rows, picked = np.arange(11)[n % 3 :], np.random.default_rng(n).permutation(IDS)[: 1 + n % 40]
        columns = [IDS.tolist().index(i) for i in picked]
        return np.array_equal(readers[n % 5].read(rows, picked), expected[n % 5][rows][:, columns])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(400)))


@pytest.mark.parametrize("lost", [(0, 0), (1, 2), (2, 5)])
@pytest.mark.parametrize("columns", [slice(None), slice(None, None, -1), slice(1, None, 3)])
def test_a_lost_chunk_is_an_error_wherever_it_is(reader: StoredReader, lost: tuple[int, int], columns: slice) -> None:
    (folder(reader) / "betas" / "c" / str(lost[0]) / str(lost[1])).unlink()
    at = IDS[columns]
    with pytest.raises(CorruptFileError, match=f"expected a chunk betas/c/{lost[0]}/{lost[1]}, found none"):
        reader.read(slice(None), at)
    inside = np.arange(lost[1] * 7, min(lost[1] * 7 + 7, 40))
    beside = np.setdiff1d(np.arange(40), inside)
    np.testing.assert_array_equal(reader.read(slice(None), IDS[beside]), values()[:, beside])


def test_betas_that_are_the_fill_value_are_no_lost_chunk(tmp_path: Path) -> None:
    betas = np.full((11, len(IDS)), LOST, np.float32)
    np.testing.assert_array_equal(write(tmp_path, betas).read(slice(None), IDS), betas)


def test_voxels_that_it_does_not_hold(reader: StoredReader) -> None:
    missing = np.setdiff1d(np.arange(GRID_SIZE), IDS)
    with pytest.raises(
        FileFormatError, match=f"does not hold 20 of the voxels asked for .such as {missing[0]}"
    ) as error:
        reader.read(slice(None), np.arange(GRID_SIZE))
    assert not isinstance(error.value, CorruptFileError)


# damage


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
        return
    if how == "flipped":
        data[len(data) // 2] ^= 16
    elif how == "truncated":
        del data[len(data) // 2 :]
    elif how == "emptied":
        data.clear()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "deleted"])
@pytest.mark.parametrize("file", ["betas/c/1/3", "voxel/c/0", "betas/zarr.json", "voxel/zarr.json"])
def test_damage_is_an_error_that_says_what_to_do(reader: StoredReader, how: str, file: str) -> None:
    damage(folder(reader) / file, how)
    with pytest.raises(CorruptFileError, match="cannot be read") as error:
        reader.read(slice(None), IDS)
    assert str(folder(reader)) in str(error.value)
    assert "Run 'laion-xr verify --repair' on the store, or open with source='nifti'." in str(error.value)


def test_every_flipped_byte_of_the_voxels_is_found(tmp_path: Path) -> None:
    # ids that are slightly wrong would be betas of other voxels
    reader = write(tmp_path, values())
    path = folder(reader) / "voxel" / "c" / "0"
    data = path.read_bytes()
    truth = values()
    found = 0
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        module._stored_voxels.cache_clear()
        try:
            # a byte that means nothing to the codec changes nothing
            np.testing.assert_array_equal(reader.read(slice(None), IDS), truth)
        except CorruptFileError:
            found += 1
    assert found > len(data) // 2


def test_metadata_of_another_shape(reader: StoredReader) -> None:
    path = folder(reader) / "betas" / "zarr.json"
    path.write_text(path.read_text().replace("11,", "12,"))
    with pytest.raises(CorruptFileError, match=r"expected betas of shape \(11, 40\), found float32 of \(12, 40\)"):
        reader.read([0], IDS)


def test_a_disk_that_does_not_answer_is_not_called_damaged(
    reader: StoredReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(5, "Input/output error")

    instead_of_filling(monkeypatch, fail)
    with pytest.raises(StoreError, match="Input/output error"):
        reader.read(slice(None), IDS)

    def deny(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    instead_of_filling(monkeypatch, deny)
    with pytest.raises(FileAccessError, match="may not be read"):
        reader.read(slice(None), IDS)


# a session that is replaced


def test_a_session_that_was_replaced_is_an_error(reader: StoredReader, tmp_path: Path) -> None:
    reader.read(slice(None), IDS)
    write(tmp_path, values(1))
    with pytest.raises(StoreError, match="was replaced by other betas since this dataset was opened: open the dataset"):
        reader.read(slice(None), IDS)


def test_a_session_that_was_removed_is_an_error(reader: StoredReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    shutil.rmtree(folder(reader))
    with pytest.raises(StoreError, match="is not in the store any more: open the dataset again"):
        reader.read(slice(None), IDS)


def test_a_record_that_cannot_be_read_is_an_error(reader: StoredReader) -> None:
    (folder(reader) / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="was replaced"):
        reader.read(slice(None), IDS)


def replacing(monkeypatch: pytest.MonkeyPatch, *actions: Any) -> None:
    """Do something in the middle of each read: after its voxels, before its betas."""
    todo = list(actions)
    by_zarr, by_files = module.fill, ChunkFiles.fill

    def in_halves(read: Any, rows: Any, out: Any) -> None:
        half = len(rows) // 2
        read(rows[:half], out[:half])
        if todo:
            todo.pop(0)()
        read(rows[half:], out[half:])

    def with_zarr(betas: Any, rows: Any, columns: Any, out: Any, lost: Any) -> None:
        in_halves(lambda r, o: by_zarr(betas, r, columns, o, lost), rows, out)

    def with_files(self: ChunkFiles, rows: Any, columns: Any, out: Any) -> None:
        in_halves(lambda r, o: by_files(self, r, columns, o), rows, out)

    monkeypatch.setattr(module, "fill", with_zarr)
    monkeypatch.setattr(ChunkFiles, "fill", with_files)


def instead_of_filling(monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    monkeypatch.setattr(module, "fill", action)
    monkeypatch.setattr(ChunkFiles, "fill", action)


def test_never_a_mixture_of_two(reader: StoredReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replacing(monkeypatch, lambda: write(tmp_path, values(1)))
    with pytest.raises(StoreError, match="was replaced"):
        reader.read(slice(None), IDS)


def test_never_a_mixture_of_other_chunks(reader: StoredReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the same values, and so the same checksum: they are read again
    replacing(monkeypatch, lambda: write(tmp_path, values(), chunks=(3, 5)))
    np.testing.assert_array_equal(reader.read(slice(None), IDS), values())


def test_a_repair_under_a_reader_is_read_again(
    reader: StoredReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path / "away"

    def remove() -> None:
        folder(reader).rename(away)
        # it comes back while the reader waits
        threading.Timer(0.03, lambda: away.rename(folder(reader))).start()

    replacing(monkeypatch, remove)
    np.testing.assert_array_equal(reader.read(slice(None), IDS), values())


def test_a_session_that_changes_all_the_time_is_an_error(reader: StoredReader, monkeypatch: pytest.MonkeyPatch) -> None:
    group = folder(reader) / "zarr.json"

    def touch() -> None:
        group.write_text(group.read_text() + " ")

    replacing(monkeypatch, *[touch] * 10)
    with pytest.raises(StoreError, match="was replaced"):
        reader.read(slice(None), IDS)


def test_damage_is_looked_at_twice_not_for_ever(reader: StoredReader, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(*args: object) -> None:
        calls.append(1)
        raise ValueError("broken")

    instead_of_filling(monkeypatch, fail)
    with pytest.raises(CorruptFileError, match="ValueError: broken"):
        reader.read(slice(None), IDS)
    assert len(calls) == 2
