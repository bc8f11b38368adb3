"""HDF5: betas of a model file in every layout, any other array, bounded memory, clear errors."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileAccessError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers import hdf5
from laion_xr.readers.hdf5 import Hdf5ArraySource, Hdf5Reader, list_arrays, opened_hdf5

GRID, N_TRIALS = (5, 4, 6), 11
SIZE = math.prod(GRID)
BETAS = np.random.default_rng(0).normal(size=(*GRID, N_TRIALS)).astype(np.float32)
TRUTH = BETAS.reshape(SIZE, N_TRIALS).T
INSIDE = np.random.default_rng(1).random(GRID) < 0.5


@pytest.fixture(params=["local", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.of(tmp_path if request.param == "local" else f"memory://hdf5-{tmp_path.name}")


def put(location: Location, data: bytes, name: str = "model.h5") -> FileEntry:
    with location.fs.open(location.at(name), "wb") as file:
        file.write(data)
    return FileEntry(name, len(data), "")


def hdf5_bytes(**arrays: Any) -> bytes:
    with h5py.File.in_memory() as file:
        for name, value in arrays.items():
            file.create_dataset(name, **(value if isinstance(value, dict) else {"data": value}))
        file.flush()
        return file.id.get_file_image()


def put_mask(location: Location, inside: np.ndarray, name: str) -> FileEntry:
    return put(location, gzip.compress(nib.Nifti1Image(inside.astype(np.uint8), np.eye(4)).to_bytes()), name)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_equal_in_every_layout(data: st.DataObject) -> None:
    location = Location.of("memory://hdf5-hypothesis")
    layout = data.draw(st.sampled_from(["volume", "grid", "anatomical"]))
    values = {"volume": BETAS, "grid": BETAS.reshape(SIZE, N_TRIALS), "anatomical": BETAS[INSIDE]}[layout]
    truth = TRUTH if layout != "anatomical" else np.where(INSIDE.ravel(), TRUTH, np.float32(np.nan))
    dtype = data.draw(st.sampled_from(["f4", ">f4", "f8"]))
    chunks = data.draw(st.none() | st.tuples(*(st.integers(1, n) for n in values.shape)))
    entry = put(location, hdf5_bytes(betasmd={"data": values.astype(dtype), "chunks": chunks}))
    mask = put_mask(location, INSIDE, "mask.nii.gz")
    voxels = np.array(data.draw(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=30)))
    trials = np.array(data.draw(st.lists(st.integers(0, N_TRIALS - 1), min_size=1, max_size=15)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "BLOCK_BYTES", data.draw(st.sampled_from([1, 64, 500, 8 << 20])))
        reader = Hdf5Reader(location, entry, GRID, N_TRIALS, mask)
        np.testing.assert_array_equal(reader.read(trials, voxels), truth[trials][:, voxels])
        np.testing.assert_array_equal(reader.read(slice(None), np.arange(SIZE)), truth)


def test_rows_of_the_rsquare_mask(location: Location) -> None:
    entry = put(location, hdf5_bytes(betasmd=BETAS[INSIDE]))
    anatomical = put_mask(location, np.ones(GRID), "brain.nii.gz")
    rsquare = put_mask(location, INSIDE, "r2.nii.gz")
    reader = Hdf5Reader(location, entry, GRID, None, anatomical, rsquare)
    assert reader.shape == (N_TRIALS, SIZE)
    ids = np.flatnonzero(INSIDE)[::-2]
    np.testing.assert_array_equal(reader.read(slice(None), ids), TRUTH[:, ids])
    outside = np.flatnonzero(~INSIDE)[:3]
    assert np.isnan(reader.read(slice(None), outside)).all()


def test_masks_are_read_only_where_they_decide(location: Location) -> None:
    entry = put(location, hdf5_bytes(betasmd=BETAS))
    gone = FileEntry("gone.nii.gz", 1, "")
    Hdf5Reader(location, entry, GRID, N_TRIALS, gone, gone).read(slice(0, 1), np.array([3]))


def test_only_touched_chunks_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = Location.of(tmp_path)
    values = BETAS.reshape(SIZE, N_TRIALS)
    entry = put(location, hdf5_bytes(betasmd={"data": values, "chunks": (10, 4)}))
    read: list[Any] = []
    real = h5py.Dataset.__getitem__

    def recorded(self: h5py.Dataset, key: Any) -> Any:
        read.append(key)
        return real(self, key)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", recorded)
    reader = Hdf5Reader(location, entry, GRID, N_TRIALS)
    # voxels of chunks 0 and 9, trials of chunks 0 and 2
    np.testing.assert_array_equal(reader.read(np.array([9, 1]), np.array([95, 3, 7])), TRUTH[[9, 1]][:, [95, 3, 7]])
    assert sorted((rows.start, rows.stop, trials.start, trials.stop) for rows, trials in read) == [
        (3, 8, 1, 2),
        (3, 8, 9, 10),
        (95, 96, 1, 2),
        (95, 96, 9, 10),
    ]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 1 << 20)
    location = Location.of(tmp_path)
    with h5py.File(tmp_path / "model.h5", "w") as file:  # 40 MB
        betas = file.create_dataset("betasmd", (100_000, 100), "f4", chunks=(1000, 50), compression="gzip")
        betas[::1000] = 1.0
    entry = FileEntry("model.h5", (tmp_path / "model.h5").stat().st_size, "")
    reader = Hdf5Reader(location, entry, (100, 100, 10), 100)
    for voxels in (np.arange(0, 100_000, 500), np.arange(100_000)):
        tracemalloc.start()
        try:
            values = reader.read(slice(None), voxels)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert values.sum() == 100 * 100
        assert peak < values.nbytes + 8 * voxels.nbytes + 5e6


# --- any array


def rich_file() -> bytes:
    with h5py.File.in_memory() as file:
        file["betasmd"] = BETAS
        file["group/inner/x"] = np.arange(6, dtype=">i2").reshape(2, 3)
        file["scalar"] = 2.5
        file["text"] = "naïve"
        file["names"] = ["a", "ß", ""]
        file["fixed"] = np.array([b"ab", b"c"])
        file["flags"] = np.array([True, False])
        file["none"] = h5py.Empty("f4")
        file["nothing"] = np.empty((0, 3), np.float32)
        jpeg = file.create_dataset("images", 2, h5py.vlen_dtype(np.uint8))
        jpeg[0], jpeg[1] = np.array([255, 0, 216], np.uint8), np.array([1], np.uint8)
        file["broken"] = h5py.SoftLink("/nowhere")
        file["alias"] = h5py.SoftLink("/scalar")
        file.flush()
        return file.id.get_file_image()


def test_list_arrays(location: Location) -> None:
    infos = {info.name: info for info in list_arrays(location, put(location, rich_file()))}
    assert sorted(infos) == [
        "betasmd", "fixed", "flags", "group/inner/x", "images", "names", "none", "nothing", "scalar", "text",
    ]  # fmt: skip
    assert infos["betasmd"] == ("betasmd", (*GRID, N_TRIALS), np.dtype("f4"), None)
    assert infos["group/inner/x"].shape == (2, 3)
    assert infos["scalar"] == ("scalar", (), np.dtype("f8"), None)
    assert (infos["text"].shape, infos["text"].dtype) == ((), np.dtype(object))
    assert (infos["fixed"].shape, infos["fixed"].dtype) == ((2,), np.dtype(object))
    assert infos["none"].shape == (0,)


def test_array_sources(location: Location) -> None:
    entry = put(location, rich_file())
    sources = {info.name: Hdf5ArraySource.of(location, entry, info) for info in list_arrays(location, entry)}
    for source in sources.values():
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        assert copy.token == source.token
        values = copy.read()
        assert values.shape == source.shape
        assert values.dtype == source.dtype
    key = (slice(1, 5, 2), slice(None), slice(2, 3), slice(0, 4))
    np.testing.assert_array_equal(sources["betasmd"].read(key), BETAS[key])
    assert sources["group/inner/x"].read((slice(0, 1), slice(1, 3))).tolist() == [[1, 2]]
    assert sources["scalar"].read() == 2.5
    assert sources["text"].read().item() == "naïve"
    assert sources["names"].read((slice(0, 2),)).tolist() == ["a", "ß"]
    assert sources["fixed"].read((slice(None),)).tolist() == ["ab", "c"]
    assert [list(image) for image in sources["images"].read()] == [[255, 0, 216], [1]]
    assert sources["nothing"].read((slice(None), slice(0, 2))).shape == (0, 2)
    assert sources["none"].read((slice(None),)).shape == (0,)


def test_an_array_that_is_not_there(location: Location) -> None:
    entry = put(location, rich_file())
    with pytest.raises(FileFormatError, match=r"model\.h5 has no array 'gone'"):
        Hdf5ArraySource(location, entry, "gone", (1,), np.dtype("f4")).read()
    entry = put(location, hdf5_bytes(other=[1], R2=[2]))
    with pytest.raises(FileFormatError, match=r"model\.h5 has no array 'betasmd': found R2, other"):
        Hdf5Reader(location, entry, GRID, N_TRIALS).read(slice(None), np.array([0]))


# --- bad input


def test_shapes_that_do_not_say_which_voxel_a_row_is(location: Location) -> None:
    entry = put(location, hdf5_bytes(betasmd=np.zeros((7, N_TRIALS), "f4")))
    with pytest.raises(FileFormatError, match=r"betasmd of .*model\.h5: which voxel each of its 7 rows is"):
        Hdf5Reader(location, entry, GRID, N_TRIALS).read(slice(None), np.array([0]))
    entry = put(location, hdf5_bytes(betasmd=BETAS))
    with pytest.raises(FileFormatError, match=r"model\.h5: expected .* with 9 trials on its last axis; found \(5, 4"):
        Hdf5Reader(location, entry, GRID, 9).read(slice(None), np.array([0]))


def test_truncated(location: Location) -> None:
    data = hdf5_bytes(betasmd={"data": BETAS, "chunks": True, "compression": "gzip"})
    for size in (len(data) // 2, len(data) - 10, 60):
        entry = put(location, data[:size])
        for read in (
            lambda e: Hdf5Reader(location, e, GRID, N_TRIALS).read(slice(None), np.arange(SIZE)),
            lambda e: list_arrays(location, e),
        ):
            with pytest.raises(CorruptFileError, match=r"model\.h5 is truncated or damaged: .*Download it again"):
                read(entry)


def test_a_damaged_chunk(location: Location) -> None:
    content = hdf5_bytes(betasmd={"data": BETAS, "chunks": BETAS.shape, "compression": "gzip", "fletcher32": True})
    with h5py.File(io.BytesIO(content), "r") as file:
        chunk = file["betasmd"].id.get_chunk_info(0)
    data = bytearray(content)
    data[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    entry = put(location, bytes(data))
    with pytest.raises(CorruptFileError, match=r"model\.h5 is truncated or damaged"):
        Hdf5Reader(location, entry, GRID, N_TRIALS).read(slice(None), np.arange(SIZE))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", r"model\.h5 is empty"),
        (b"not hdf5 at all" * 100, r"model\.h5 is not an HDF5 file: it begins with b'not hdf5"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"model\.h5 is a git-LFS pointer"),
        (b"/annex/objects/MD5E-s1--a.h5\n", r"model\.h5 is a git-annex pointer"),
    ],
)
def test_files_of_another_kind(location: Location, data: bytes, match: str) -> None:
    entry = put(location, data)
    with pytest.raises(FileFormatError, match=match):
        list_arrays(location, entry)


def test_missing_and_denied(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotDownloadedError, match="gone"):
        list_arrays(location, FileEntry("gone.h5", 1, ""))

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError

    monkeypatch.setattr("laion_xr.location.open", denied, raising=False)
    monkeypatch.setattr(type(location.fs), "cat_file", denied)
    with pytest.raises(FileAccessError, match=r"model\.h5 may not be read"):
        list_arrays(location, FileEntry("model.h5", 1, ""))


def test_errors_of_the_block_itself_pass(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    entry = put(location, hdf5_bytes(x=[1]))
    with pytest.raises(KeyError, match="mine"), opened_hdf5(location, entry):
        raise KeyError("mine")
