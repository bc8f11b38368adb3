"""What every reader of betas does, whatever its file: one suite over all of them."""

from __future__ import annotations

import gzip
import math
import pickle
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import fsspec
import h5py
import nibabel as nib
import numpy as np
import pytest

from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import Reader
from laion_xr.readers.embeddings import EmbeddingReader
from laion_xr.readers.hdf5 import Hdf5Reader
from laion_xr.readers.missing import MissingReader
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.stored import RECORD, StoredReader
from laion_xr.readers.zarrarrays import LOST, open_group
from laion_xr.store.checksum import crc32, digest

GRID = (6, 5, 4)
SIZE = math.prod(GRID)
N_TRIALS = 9


class Case(NamedTuple):
    """A reader and the matrix `(trial, grid voxel)` that it must return."""

    reader: Any
    truth: np.ndarray
    rewrite: Callable[[int], Any]  # change the file, return how a listing shows it, or what of the reader changes


Put = Callable[[str, bytes], FileEntry]


def betas() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(*GRID, N_TRIALS)).astype(np.float32)
    values[0, 1, 2, :] = np.nan
    values[3, 3, 3, 4] = np.nan
    return values


def matrix(volume: np.ndarray) -> np.ndarray:
    return volume.reshape(SIZE, -1).T


def nifti_bytes(values: np.ndarray) -> bytes:
    return nib.Nifti1Image(values, np.eye(4)).to_bytes()


def nifti_gz(location: Location, put: Put) -> Case:
    def write(seed: int) -> FileEntry:
        return put("b.nii.gz", gzip.compress(nifti_bytes(betas() + seed)))

    return Case(NiftiReader(location, write(0), GRID, N_TRIALS), matrix(betas()), write)


def nifti_plain(location: Location, put: Put) -> Case:
    def write(seed: int) -> FileEntry:
        return put("b.nii", nifti_bytes(betas() + seed))

    return Case(NiftiReader(location, write(0), GRID, N_TRIALS), matrix(betas()), write)


def nifti_unknown_length(location: Location, put: Put) -> Case:
    case = nifti_gz(location, put)
    return case._replace(reader=NiftiReader(location, case.reader.entry, GRID, None))


def nifti_map(location: Location, put: Put) -> Case:
    def write(seed: int) -> FileEntry:
        return put("m.nii.gz", gzip.compress(nifti_bytes(betas()[..., 0] + seed)))

    return Case(NiftiReader(location, write(0), GRID, 1), matrix(betas()[..., 0]), write)


def nifti_integer_map(location: Location, put: Put) -> Case:
    values = np.where(np.isnan(betas()[..., 0]), np.nan, np.arange(SIZE, dtype=np.float32).reshape(GRID) % 20)

    def write(seed: int) -> FileEntry:
        return put("h.nii.gz", gzip.compress(nifti_bytes((values + seed).astype(np.float32))))

    truth = np.where(np.isnan(values), -1, values).astype(np.int16)
    return Case(NiftiReader(location, write(0), GRID, 1, np.int16), matrix(truth), write)


def hdf5_bytes(values: np.ndarray, chunks: Any) -> bytes:
    with h5py.File.in_memory() as file:
        file.create_dataset("betasmd", data=values, chunks=chunks, compression=None if chunks is None else "gzip")
        file.flush()
        return file.id.get_file_image()


def hdf5_volume(location: Location, put: Put) -> Case:
    def write(seed: int) -> FileEntry:
        return put("model.h5", hdf5_bytes(betas() + seed, (2, 2, 3, 4)))

    return Case(Hdf5Reader(location, write(0), GRID, N_TRIALS), matrix(betas()), write)


def hdf5_flat(location: Location, put: Put) -> Case:
    def write(seed: int) -> FileEntry:
        return put("model.h5", hdf5_bytes((betas() + seed).reshape(SIZE, -1), None))

    return Case(Hdf5Reader(location, write(0), GRID, N_TRIALS), matrix(betas()), write)


def hdf5_masked(location: Location, put: Put) -> Case:
    inside = np.random.default_rng(1).random(GRID) < 0.6
    mask = put("mask.nii.gz", gzip.compress(nifti_bytes(inside.astype(np.uint8))))

    def write(seed: int) -> FileEntry:
        return put("model.h5", hdf5_bytes((betas() + seed)[inside], (7, 4)))

    truth = np.where(inside.ravel(), matrix(betas()), np.float32(np.nan))
    return Case(Hdf5Reader(location, write(0), GRID, N_TRIALS, mask, None), truth, write)


def embeddings(location: Location, put: Put) -> Case:
    # a matrix (image, feature), whose last row is none: rows are trials, features voxels
    values = np.random.default_rng(0).normal(size=(N_TRIALS - 1, SIZE)).astype(np.float16)

    def write(seed: int) -> FileEntry:
        with h5py.File.in_memory() as file:
            file["embedding"] = values + np.float16(seed)
            file.flush()
            return put("embeddings.h5", file.id.get_file_image())

    reader = EmbeddingReader(location, write(0), N_TRIALS - 1, SIZE, np.dtype(np.float16))
    return Case(reader, np.vstack([values, np.full((1, SIZE), np.nan, np.float16)]), write)


def stored(location: Location, put: Put) -> Case:
    ids = np.random.default_rng(1).permutation(SIZE)

    def write(seed: int) -> dict[str, Any]:
        values = matrix(betas() + seed)[:, ids]
        group = open_group(location, "sub-01/ses-01", mode="w")
        group.create_array("voxel", data=ids)
        group.create_array("betas", data=values, chunks=(4, 11), fill_value=LOST, config={"write_empty_chunks": True})
        checksums = {"voxel": crc32(ids), "betas": [crc32(values)]}
        group.update_attributes({RECORD: {"checksum": digest(checksums), "checksums": checksums}})
        return {"checksum": digest(checksums)}

    reader = StoredReader(location, "sub-01/ses-01", (N_TRIALS, SIZE), write(0)["checksum"])
    return Case(reader, matrix(betas()), write)


def no_file(location: Location, put: Put) -> Case:
    reader = MissingReader(1, GRID, np.dtype(np.float32))
    return Case(reader, np.full((1, SIZE), np.nan, np.float32), lambda seed: FileEntry("none", 0, ""))


MAKERS = [
    nifti_gz,
    nifti_plain,
    nifti_unknown_length,
    nifti_map,
    nifti_integer_map,
    hdf5_volume,
    hdf5_flat,
    hdf5_masked,
    embeddings,
    stored,
    no_file,
]


@pytest.fixture(params=["local", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Location]:
    if request.param == "local":
        yield Location.of(tmp_path)
    else:
        url = f"memory://contract-{uuid.uuid4().hex}"
        yield Location.of(url)
        fs = fsspec.filesystem("memory")
        if fs.exists(url):
            fs.rm(url, recursive=True)


@pytest.fixture(params=MAKERS, ids=lambda f: f.__name__)
def case(request: pytest.FixtureRequest, location: Location) -> Case:
    counter = iter(range(100))

    def put(path: str, data: bytes) -> FileEntry:
        with location.fs.open(location.at(path), "wb") as file:
            file.write(data)
        return FileEntry(path, len(data), str(next(counter)))

    return request.param(location, put)


def test_satisfies_the_protocol(case: Case) -> None:
    assert isinstance(case.reader, Reader)
    assert case.reader.shape == case.truth.shape
    assert case.reader.dtype == case.truth.dtype
    assert hash(case.reader) == hash(pickle.loads(pickle.dumps(case.reader)))


def test_everything(case: Case) -> None:
    values = case.reader.read(slice(None), np.arange(SIZE))
    assert values.dtype == case.reader.dtype
    np.testing.assert_array_equal(values, case.truth)


VOXELS = {
    "one": [7],
    "last": [SIZE - 1],
    "sorted": [0, 1, 5, 50, 51, 119],
    "any order": [119, 3, 60, 0, 61],
    "repeated": [5, 5, 119, 5, 0, 119],
}
TRIALS = {
    "all": slice(None),
    "slice": slice(1, 7, 3),
    "backwards": slice(None, None, -1),
    "first": [0],
    "last": [-1],  # counted from the end by the test, not by the reader
    "any order": [7, 2, 8, 0],
    "repeated": [3, 3, 0, 8, 3, 0],
}


@pytest.mark.parametrize("trials", TRIALS.values(), ids=TRIALS)
@pytest.mark.parametrize("voxels", VOXELS.values(), ids=VOXELS)
def test_picks(case: Case, voxels: list[int], trials: Any) -> None:
    n = len(case.truth)
    pick = trials if isinstance(trials, slice) else np.array(trials) % n
    values = case.reader.read(pick, np.array(voxels))
    np.testing.assert_array_equal(values, case.truth[np.arange(n)[pick]][:, voxels])
    assert values.flags.writeable


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint64, np.int64])
def test_picks_of_any_integer_type(case: Case, dtype: Any) -> None:
    values = case.reader.read(np.array([0], dtype), np.array([9, 2], dtype))
    np.testing.assert_array_equal(values, case.truth[:1, [9, 2]])


def test_fills_the_array_that_it_is_given(case: Case) -> None:
    whole = np.zeros((len(case.truth) + 2, 3), case.reader.dtype)
    out = whole[1:-1]
    voxels = np.array([60, 3, 60])
    assert case.reader.read(slice(None), voxels, out=out) is out
    np.testing.assert_array_equal(out, case.truth[:, voxels])
    assert not whole[[0, -1]].any()
    columns = np.zeros((3, len(case.truth)), case.reader.dtype).T  # not contiguous
    np.testing.assert_array_equal(case.reader.read(slice(None), np.arange(3), out=columns), case.truth[:, :3])
    for wrong in (whole, out.astype(np.complex64)):
        with pytest.raises(ValueError, match="expected out of shape"):
            case.reader.read(slice(None), voxels, out=wrong)


def test_an_empty_pick_touches_no_file(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    n = len(case.truth)
    assert case.reader.shape[0] == n  # where the file must say it, it has said it now

    def forbidden(*args: object) -> None:
        raise AssertionError("a file was touched")

    monkeypatch.setattr(Location, "fs", property(forbidden))
    monkeypatch.setattr(Location, "open", forbidden)
    for trials in (slice(0, 0), np.array([], dtype=np.int64), np.array([])):
        values = case.reader.read(trials, np.arange(5))
        assert values.shape == (0, 5)
        assert values.dtype == case.reader.dtype
    assert case.reader.read(slice(None), np.array([], dtype=np.int64)).shape == (n, 0)
    assert case.reader.read(slice(0, 0), np.array([])).shape == (0, 0)


def test_pickled(case: Case) -> None:
    data = pickle.dumps(case.reader)
    assert len(data) < 2000
    copy = pickle.loads(data)
    assert copy == case.reader
    assert copy.token == case.reader.token
    np.testing.assert_array_equal(copy.read(slice(None), np.arange(SIZE)), case.truth)


def test_threads(case: Case) -> None:
    picks = [np.random.default_rng(seed).integers(0, SIZE, 20) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        for pick, values in zip(picks, pool.map(lambda p: case.reader.read(slice(None), p), picks), strict=True):
            np.testing.assert_array_equal(values, case.truth[:, pick])


def plain(value: object) -> bool:
    return isinstance(value, str | int | float | None) or (isinstance(value, tuple) and all(map(plain, value)))


def test_the_token_changes_with_the_file(case: Case) -> None:
    if isinstance(case.reader, MissingReader):
        pytest.skip("there is no file")
    token = case.reader.token
    assert plain(token)
    change = case.rewrite(1)
    state = {name: getattr(case.reader, name) for name in case.reader.__dataclass_fields__}
    changed = type(case.reader)(**{**state, **(change if isinstance(change, dict) else {"entry": change})})
    assert changed.token != token
    moved = type(case.reader)(**{**state, "location": Location.of("memory://elsewhere")})
    assert moved.token != token
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(changed.read(slice(None), np.arange(SIZE)), case.truth)


@pytest.mark.parametrize(("trials", "voxels"), [([0], [SIZE]), ([0], [-1]), ([99], [0]), ([-1], [0])])
def test_positions_outside_are_errors(case: Case, trials: list[int], voxels: list[int]) -> None:
    if isinstance(case.reader, MissingReader | EmbeddingReader):
        pytest.skip("it is read by positions that the package makes itself")
    with pytest.raises(IndexError, match="is outside 0 to"):
        case.reader.read(np.array(trials), np.array(voxels))
