"""Chunks that are written without Zarr: the same bytes, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from laion_xr.errors import CorruptFileError
from laion_xr.readers import chunkfiles
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.readers.zarrarrays import LOST
from laion_xr.store.encode import ChunkWriter

CODEC = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"}


def create(folder: Path, shape: tuple[int, int], chunks: tuple[int, int], **changes: Any) -> zarr.Array:
    options: dict[str, Any] = {
        "compressors": [BloscCodec(typesize=4, **CODEC), Crc32cCodec()],
        "fill_value": LOST,
        "config": {"write_empty_chunks": True},
        "dtype": "float32",
    }
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    return group.create_array("betas", shape=shape, chunks=chunks, **(options | changes))


def values(shape: tuple[int, int]) -> np.ndarray:
    bits = np.random.default_rng(0).integers(0, 2**32, shape, dtype=np.uint32)
    bits[0, :3] = 0x7FC00001, 0xFFC00000, 0x80000000  # NaN of other payloads, minus zero
    return bits.view(np.float32)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("codec", [CODEC, {"cname": "zstd", "clevel": 1, "shuffle": "shuffle"}])
@pytest.mark.parametrize("shape", [(8, 14), (9, 15), (1, 1)])
def test_the_files_are_those_that_zarr_writes(tmp_path: Path, codec: dict[str, Any], shape: tuple[int, int]) -> None:
    betas = values((9, 15))[: shape[0], : shape[1]]
    compressors = [BloscCodec(typesize=4, **codec), Crc32cCodec()]
    create(tmp_path / "zarr", shape, (4, 7), compressors=compressors)[...] = betas
    found = ChunkFiles.of(create(tmp_path / "own", shape, (4, 7), compressors=compressors))
    assert found is not None
    writer = ChunkWriter(found, codec)
    for start in range(0, shape[0], 4):
        writer.write(start, betas[start : start + 4])
    assert files(tmp_path / "own") == files(tmp_path / "zarr")
    out = np.zeros(shape, np.float32)
    found.fill(np.arange(shape[0]), np.arange(shape[1]), out)
    np.testing.assert_array_equal(out.view(np.uint32), betas.view(np.uint32))


def test_a_disk_that_does_not_keep_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ChunkFiles.of(create(tmp_path, (8, 14), (4, 7)))
    assert found is not None
    load = ChunkFiles.load

    def forgetful(self: ChunkFiles, row: int, column: int, packed: np.ndarray, block: np.ndarray) -> None:
        load(self, row, column, packed, block)
        if (row, column) == (1, 1):
            block[2, 3] += 1

    monkeypatch.setattr(ChunkFiles, "load", forgetful)
    writer = ChunkWriter(found, CODEC)
    writer.write(0, np.ones((4, 14), np.float32))
    with pytest.raises(CorruptFileError, match=r"betas/c/1/1 reads back differently from what was written; check the"):
        writer.write(4, np.ones((4, 14), np.float32))


@pytest.mark.parametrize(("start", "n"), [(2, 4), (4, 5)])
def test_only_rows_of_chunks_are_written(tmp_path: Path, start: int, n: int) -> None:
    found = ChunkFiles.of(create(tmp_path, (12, 14), (4, 7)))
    assert found is not None
    with pytest.raises(ValueError, match="expected a row of chunks of 4 rows"):
        ChunkWriter(found, CODEC).write(start, np.zeros((n, 14), np.float32))


@pytest.mark.parametrize(
    "changes",
    [
        {"compressors": [BloscCodec(typesize=4)]},
        {"compressors": [GzipCodec(), Crc32cCodec()]},
        {"compressors": [ZstdCodec()]},
        {"compressors": None},
        {"dtype": "float64"},
        {"dtype": ">f4"},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
        {"shards": (8, 14)},
    ],
)
def test_other_arrays_are_left_to_zarr(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert ChunkFiles.of(create(tmp_path, (16, 28), (4, 7), **changes)) is None


def test_what_is_not_on_this_machine_is_left_to_zarr() -> None:
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=(8, 14), chunks=(4, 7), dtype="float32")
    assert ChunkFiles.of(array) is None


def test_another_separator(tmp_path: Path) -> None:
    encoding = {"name": "default", "configuration": {"separator": "."}}
    array = create(tmp_path, (8, 14), (4, 7), chunk_key_encoding=encoding)
    array[...] = betas = values((8, 14))
    found = ChunkFiles.of(array)
    assert found is not None
    out = np.zeros((8, 14), np.float32)
    found.fill(np.arange(8), np.arange(14), out)
    np.testing.assert_array_equal(out.view(np.uint32), betas.view(np.uint32))


def test_a_release_of_zarr_that_uses_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError

    monkeypatch.setattr(chunkfiles, "checked_blosc", missing)
    assert ChunkFiles.of(create(tmp_path, (8, 14), (4, 7))) is None


def test_a_chunk_of_another_size_with_a_right_checksum(tmp_path: Path) -> None:
    found = ChunkFiles.of(create(tmp_path / "one", (8, 14), (4, 7)))
    other = ChunkFiles.of(create(tmp_path / "other", (8, 14), (2, 7)))
    assert found is not None
    assert other is not None
    ChunkWriter(found, CODEC).write(0, np.ones((4, 14), np.float32))
    ChunkWriter(other, CODEC).write(0, np.ones((2, 14), np.float32))
    Path(found.path(0, 0)).write_bytes(Path(other.path(0, 0)).read_bytes())
    with pytest.raises(CorruptFileError, match="expected 112 bytes in the chunk betas/c/0/0, found another number"):
        found.fill(np.arange(8), np.arange(14), np.zeros((8, 14), np.float32))
