"""NIfTI betas: equal to plain nibabel on every variant, lazy, small in memory, clear about bad files."""

from __future__ import annotations

import gzip
import math
import tracemalloc
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.testing import data_path

from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileAccessError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers import nifti
from laion_xr.readers.inflate import InflatedFile
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.stream import RangeFetcher

HEADERS = {1: nib.Nifti1Header, 2: nib.Nifti2Header}
IMAGES = {1: nib.Nifti1Image, 2: nib.Nifti2Image}
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def nifti_bytes(
    stored: np.ndarray,
    *,
    version: int = 1,
    order: str = "<",
    scaling: tuple[float, float] | None = None,
    extension: bytes = b"",
    shape: tuple[int, ...] | None = None,
) -> bytes:
    """A single-file NIfTI of exactly these stored values; `shape` makes the header say something else."""
    header = HEADERS[version](endianness=order)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape if shape is None else shape)
    if scaling is not None:
        header["scl_slope"], header["scl_inter"] = scaling
    if extension:
        header.extensions.append(nib.nifti1.Nifti1Extension("comment", extension))
    size = header["sizeof_hdr"].item() + 4
    header["vox_offset"] = size + sum(e.get_sizeondisk() for e in header.extensions)
    out = header.binaryblock + (b"\1\0\0\0" if extension else b"\0\0\0\0")
    for e in header.extensions:
        content = e.get_content() if isinstance(e.get_content(), bytes) else extension
        sizes = np.array([e.get_sizeondisk(), e.get_code()], dtype=f"{order}i4").tobytes()
        out += (sizes + content).ljust(e.get_sizeondisk(), b"\0")
    return out + stored.astype(stored.dtype.newbyteorder(order)).tobytes(order="F")


def reference(data: bytes, dtype: Any = np.float32) -> np.ndarray:
    """What nibabel reads, as `(trial, grid voxel)`."""
    version = 2 if 540 in (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")) else 1
    image = IMAGES[version].from_bytes(data)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asanyarray(image.dataobj).astype(dtype)
    return values.reshape(math.prod(image.shape[:3]), -1).T


def members(data: bytes, n: int) -> bytes:
    step = -(-len(data) // n)
    return b"".join(gzip.compress(data[i : i + step], 1) for i in range(0, len(data), step))


def write(folder: Path | str, data: bytes, name: str = "b.nii.gz") -> tuple[Location, FileEntry]:
    location = Location.of(folder)
    with location.fs.open(location.at(name), "wb") as file:
        file.write(data)
    return location, FileEntry(name, len(data), "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nifti")


@st.composite
def files(draw: st.DrawFn) -> bytes:
    grid = draw(st.tuples(*[st.integers(1, 5)] * 3))
    n_trials = draw(st.integers(1, 5))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # any bits: NaNs with payloads, infinities, subnormals, extreme integers
    stored = np.frombuffer(rng.bytes(math.prod(grid) * n_trials * dtype.itemsize), dtype)
    if draw(st.booleans()):
        stored = (stored.astype("f8") % 100).astype(dtype) if dtype.kind == "f" else stored % 100
    scaling = draw(
        st.none()
        | st.tuples(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32))
        | st.sampled_from([(1.0, 0.0), (0.0, 5.0), (math.nan, math.nan), (1.0, 2.5), (2.0, 0.0), (1e30, 0.0)])
    )
    flat = len(grid) + 1 if n_trials > 1 else draw(st.sampled_from([3, 4]))
    with np.errstate(all="ignore"):
        return nifti_bytes(
            stored.reshape((*grid, n_trials)[:flat], order="F"),
            version=draw(st.sampled_from([1, 2])),
            order=draw(st.sampled_from("<>")),
            scaling=scaling,
            extension=draw(st.sampled_from([b"", b"x" * 40, b"y" * 1000])),
        )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), content=files())
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # in the reference: NaN % 100
def test_equal_to_nibabel(folder: Path, data: st.DataObject, content: bytes) -> None:
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    truth = reference(content, dtype)
    n_trials, n_voxels = truth.shape
    grid = IMAGES[1 if content[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c") else 2].from_bytes(content).shape[:3]
    stored = data.draw(st.sampled_from([0, 1, 2, 3]))
    place = data.draw(st.sampled_from([str(folder), "memory://nifti-hypothesis"]))
    location, entry = write(place, members(content, stored) if stored else content, "h.nii.gz")
    trials = data.draw(st.just(slice(None)) | st.lists(st.integers(0, n_trials - 1), min_size=1, max_size=7))
    mask = data.draw(st.lists(st.integers(0, n_voxels - 1), min_size=1, max_size=20))
    voxels = np.array(sorted(set(mask)) if data.draw(st.booleans()) else mask)
    block = data.draw(st.sampled_from([8, 40, 1 << 20]))
    with mock.patch.multiple(nifti, BLOCK=block, PLAIN_BLOCK=block, REMOTE_BLOCK=block):
        reader = NiftiReader(location, entry, grid, n_trials, dtype)
        values = reader.read(trials if isinstance(trials, slice) else np.array(trials), voxels)
    rows = np.arange(n_trials)[trials]
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, truth[rows][:, voxels])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
@pytest.mark.parametrize("voxels", [np.arange(60), np.arange(60)[::-1]], ids=["F order", "reversed"])
def test_float32_keeps_every_bit(tmp_path: Path, order: str, name: str, voxels: np.ndarray) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 180, dtype=np.uint32)
    bits[:4] = [0x7FC00001, 0xFFC12345, 0x80000000, 1]  # NaNs with payloads, -0.0, a subnormal
    stored = bits.view(np.float32).reshape((60, 1, 1, 3), order="F")
    data = nifti_bytes(stored, order=order)
    location, entry = write(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name)
    values = NiftiReader(location, entry, (60, 1, 1), 3).read(slice(None), voxels)
    np.testing.assert_array_equal(values.view(np.uint32), bits.reshape(3, 60)[:, voxels])


@pytest.mark.parametrize("name", ["example4d.nii.gz", "functional.nii", "example_nifti2.nii.gz"])
@pytest.mark.parametrize("place", ["local", "memory"])
def test_real_scanner_files(name: str, place: str) -> None:
    path = Path(data_path) / name
    image = nib.load(path)
    truth = np.asanyarray(image.dataobj).astype(np.float32).reshape(math.prod(image.shape[:3]), -1).T
    if place == "local":
        location, entry = Location.of(path.parent), FileEntry(name, path.stat().st_size, "1")
    else:
        location, entry = write("memory://nifti-real", path.read_bytes(), name)
    reader = NiftiReader(location, entry, image.shape[:3], truth.shape[0])
    np.testing.assert_array_equal(reader.read(slice(None), np.arange(truth.shape[1])), truth)
    picks = np.random.default_rng(0).integers(0, truth.shape[1], 200)
    np.testing.assert_array_equal(reader.read(np.array([1, 0, 1]), picks), truth[[1, 0, 1]][:, picks])


def test_longdouble_is_read_or_refused_clearly(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((2, 2, 2))
    header["datatype"], header["bitpix"], header["vox_offset"] = 1536, 128, 352
    location, entry = write(tmp_path, gzip.compress(header.binaryblock + bytes(4 + 8 * 16)))
    reader = NiftiReader(location, entry, (2, 2, 2), 1)
    if header.get_data_dtype().kind == "f":
        np.testing.assert_array_equal(reader.read(slice(None), np.arange(8)), np.zeros((1, 8)))
    else:
        with pytest.raises(FileFormatError, match="data code 1536 not supported"):
            reader.read(slice(None), np.arange(8))


def test_a_last_axis_of_one_and_more_axes(tmp_path: Path) -> None:
    stored = np.arange(48, dtype=np.float32).reshape(2, 3, 4, 1, 2)
    location, entry = write(tmp_path, gzip.compress(nifti_bytes(stored)))
    values = NiftiReader(location, entry, (2, 3, 4), 2).read(slice(None), np.arange(24))
    np.testing.assert_array_equal(values, stored.reshape(24, 2).T)


def test_integer_maps_are_rounded_and_nan_is_minus_one(tmp_path: Path) -> None:
    stored = np.array([0, 2.6, np.nan, 19.4, np.inf, -0.4, 7, 3], np.float32).reshape(2, 2, 2)
    location, entry = write(tmp_path, gzip.compress(nifti_bytes(stored)))
    values = NiftiReader(location, entry, (2, 2, 2), 1, np.int16).read(slice(None), np.arange(8))
    assert values.dtype == np.int16
    assert values.tolist() == [[0, 3, -1, 19, -1, 0, 7, 3]]


def test_integer_maps_that_do_not_fit(tmp_path: Path) -> None:
    location, entry = write(tmp_path, gzip.compress(nifti_bytes(np.full((2, 2, 2), 40_000, np.int32))))
    with pytest.raises(FileFormatError, match=r"b\.nii\.gz: expected values that fit int16, found 40000 to 40000"):
        NiftiReader(location, entry, (2, 2, 2), 1, np.int16).read(slice(None), np.arange(8))


# --- laziness


GRID, N_TRIALS = (16, 16, 16), 12


@pytest.fixture(scope="module")
def session(folder: Path) -> tuple[Location, FileEntry, np.ndarray, bytes]:
    stored = np.random.default_rng(0).normal(size=(*GRID, N_TRIALS)).astype(np.float32)
    data = nifti_bytes(stored)
    return (*write(folder, gzip.compress(data, 1), "session.nii.gz"), stored.reshape(-1, N_TRIALS).T, data)


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read of an open file returned."""
    sizes: list[int] = []
    real = InflatedFile.read

    def recorded(self: InflatedFile, size: int) -> bytes:
        data = real(self, size)
        sizes.append(len(data))
        return data

    real_into = InflatedFile.read_into

    def recorded_into(self: InflatedFile, buffer: memoryview) -> int:
        sizes.append(real_into(self, buffer))
        return sizes[-1]

    monkeypatch.setattr(InflatedFile, "read", recorded)
    monkeypatch.setattr(InflatedFile, "read_into", recorded_into)
    return sizes


@pytest.mark.parametrize(
    ("trials", "voxel", "needed"),
    [
        ([0], (0, 0, 0), 352 + 4),
        ([3], (0, 0, 0), 352 + 3 * 16384 + 4),
        ([0, 3], (15, 15, 15), 352 + 4 * 16384),
        ([5, 2], (15, 7, 0), 352 + 5 * 16384 + 4 * (15 + 16 * 7 + 1)),
    ],
)
def test_nothing_after_the_last_needed_voxel_is_inflated(
    session: Any, inflated: list[int], trials: list[int], voxel: tuple[int, int, int], needed: int
) -> None:
    location, entry, truth, _ = session
    flat = np.array([np.ravel_multi_index(voxel, GRID)])
    values = NiftiReader(location, entry, GRID, N_TRIALS).read(np.array(trials), flat)
    np.testing.assert_array_equal(values, truth[trials][:, flat])
    assert sum(inflated) == needed


def test_the_last_volume_reads_to_the_end(session: Any, inflated: list[int]) -> None:
    location, entry, _, data = session
    NiftiReader(location, entry, GRID, N_TRIALS).read(np.array([N_TRIALS - 1]), np.array([0]))
    assert sum(inflated) == len(data)
    assert inflated[-1] == 0  # the end was seen, and with it the checksum


def test_what_lies_after_is_not_needed(tmp_path: Path, session: Any) -> None:
    location, entry, truth, _ = session
    data = Path(location.at(entry.path)).read_bytes()
    location, entry = write(tmp_path, data[: len(data) // 2])
    values = NiftiReader(location, entry, GRID, N_TRIALS).read(slice(0, 4), np.arange(4096))
    np.testing.assert_array_equal(values, truth[:4])


@pytest.mark.parametrize("place", ["local", "memory"])
def test_a_plain_file_is_read_where_it_is_needed(
    tmp_path: Path, session: Any, place: str, inflated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, truth, data = session
    fetched: list[int] = []
    real = RangeFetcher._fetch
    monkeypatch.setattr(RangeFetcher, "_fetch", lambda s, a, b: (fetched.append(b - a), real(s, a, b))[1])
    location, entry = write(tmp_path if place == "local" else "memory://nifti-plain", data, "b.nii")
    voxels = np.array([np.ravel_multi_index((i, 3, 3), GRID) for i in range(10)])
    values = NiftiReader(location, entry, GRID, N_TRIALS).read(np.array([11, 4]), voxels)
    np.testing.assert_array_equal(values, truth[[11, 4]][:, voxels])
    if place == "local":
        assert sum(inflated) == 352 + 2 * 40
    else:
        assert fetched == [1 << 16, 40, 40]  # where the header is, then one request a trial


def test_memory_is_the_result_and_a_few_blocks(tmp_path: Path) -> None:
    grid, n_trials = (96, 96, 96), 16  # 3.5 MB a volume, 57 MB in all
    stored = np.zeros((*grid, n_trials), np.float32)
    stored[::7, ::5, ::3] = np.random.default_rng(0).normal(size=stored[::7, ::5, ::3].shape)
    location, entry = write(tmp_path, gzip.compress(nifti_bytes(stored), 1))
    reader = NiftiReader(location, entry, grid, n_trials)
    for voxels in (np.arange(0, 96**3, 400), np.arange(96**3)):
        tracemalloc.start()
        try:
            values = reader.read(slice(None), voxels)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        np.testing.assert_array_equal(values, stored.reshape(-1, n_trials).T[:, voxels])
        # while the pick is put into the order of the file: a few int64 a voxel
        assert peak < values.nbytes + 7 * voxels.nbytes + 4e6
        del values


# --- bad input


def read_all(location: Location, entry: FileEntry, grid: Any = GRID, n_trials: int | None = N_TRIALS) -> np.ndarray:
    return NiftiReader(location, entry, grid, n_trials).read(slice(None), np.arange(math.prod(grid)))


def test_truncated(tmp_path: Path, session: Any) -> None:
    data = gzip.compress(session[3], 1)
    for size in (len(data) // 2, len(data) - 1, len(data) - 8):
        location, entry = write(tmp_path, data[:size])
        with pytest.raises(CorruptFileError, match=r"b\.nii\.gz is truncated.* in volume \d+ of 12.*Download it again"):
            read_all(location, entry)


def test_truncated_in_the_header(tmp_path: Path) -> None:
    for size in (1, 5, 30):
        location, entry = write(tmp_path, gzip.compress(nifti_bytes(np.zeros((2, 2, 2), "f4")))[:size])
        with pytest.raises(FileFormatError, match=r"b\.nii\.gz is (truncated|not a NIfTI file)"):
            read_all(location, entry)


def test_a_flipped_byte_fails_the_checksum(tmp_path: Path, session: Any) -> None:
    data = bytearray(gzip.compress(session[3], 1))
    for position in (len(data) // 3, len(data) - 6):
        damaged = data.copy()
        damaged[position] ^= 0x55
        location, entry = write(tmp_path, bytes(damaged))
        with pytest.raises(CorruptFileError, match=r"b\.nii\.gz is (corrupt|truncated)"):
            read_all(location, entry)


def test_garbage_after_the_end(tmp_path: Path, session: Any) -> None:
    location, entry = write(tmp_path, gzip.compress(session[3], 1) + b"<html>oops</html>" * 10)
    with pytest.raises(CorruptFileError, match=r"b\.nii\.gz"):
        read_all(location, entry)


def test_zeros_after_the_end_are_padding(tmp_path: Path, session: Any) -> None:
    location, entry = write(tmp_path, gzip.compress(session[3], 1) + bytes(512))
    np.testing.assert_array_equal(read_all(location, entry), session[2])


@pytest.mark.parametrize("name", ["b.nii.gz", "b.nii"])
@pytest.mark.parametrize("place", ["local", "memory"])
@pytest.mark.parametrize(
    ("said", "error", "match"),
    [
        (13, CorruptFileError, "is shorter than its header says: expected 13 volumes .* found 12 "),
        (11, FileFormatError, "is longer than its header says: expected 11 volumes .* found 12 "),
    ],
)
def test_a_header_that_lies(
    tmp_path: Path, session: Any, name: str, place: str, said: int, error: type[Exception], match: str
) -> None:
    stored = session[2].T.reshape(*GRID, N_TRIALS)
    data = nifti_bytes(stored, shape=(*GRID, said))
    data = gzip.compress(data, 1) if name.endswith(".gz") else data
    location, entry = write(tmp_path if place == "local" else "memory://nifti-lies", data, name)
    with pytest.raises(error, match=match):
        read_all(location, entry, n_trials=said)


def test_another_shape_or_length(session: Any) -> None:
    location, entry, *_ = session
    with pytest.raises(FileFormatError, match=r"session\.nii\.gz: expected volumes of shape \(8, 8, 8\), found \(16,"):
        read_all(location, entry, grid=(8, 8, 8))
    with pytest.raises(FileFormatError, match=r"session\.nii\.gz: expected 10 volumes, found 12"):
        read_all(location, entry, n_trials=10)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-LFS pointer.*git lfs pull"),
        (b"/annex/objects/MD5E-s9--0.nii.gz\n", "git-annex pointer.*git annex get"),
        (b"../../.git/annex/objects/a/b/MD5E-s9--0.nii.gz", "git-annex pointer"),
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>403</html>" * 30, "is not a NIfTI file"),
        (gzip.compress(b"hello" * 200, mtime=0), "is not a NIfTI file"),
    ],
)
@pytest.mark.parametrize("place", ["local", "memory"])
def test_files_of_another_kind(tmp_path: Path, data: bytes, match: str, place: str) -> None:
    location, entry = write(tmp_path if place == "local" else "memory://nifti-kind", data)
    with pytest.raises(FileFormatError, match=match) as caught:
        read_all(location, entry)
    assert location.show(entry.path) in str(caught.value)


@pytest.mark.parametrize("place", ["local", "memory"])
def test_missing_and_denied(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    location = Location.of(tmp_path if place == "local" else f"memory://nifti-{uuid.uuid4().hex}")
    entry = FileEntry("gone.nii.gz", 100, "1")
    with pytest.raises(DataNotDownloadedError, match=r"gone\.nii\.gz is not there"):
        read_all(location, entry)

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError

    # tests may run as root, whom permissions do not stop
    monkeypatch.setattr("laion_xr.location.open", denied, raising=False)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", denied)
    with pytest.raises(FileAccessError, match=r"gone\.nii\.gz may not be read"):
        read_all(location, entry)
