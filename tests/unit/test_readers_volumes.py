"""Whole volumes and masks."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.volumes import nonzero_ids, read_mask_ids, read_masks_ids, read_volume

GRID = (6, 5, 4)


@pytest.fixture(params=["local", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.of(tmp_path if request.param == "local" else f"memory://volumes-{tmp_path.name}")


def put(location: Location, data: bytes, name: str = "m.nii.gz") -> FileEntry:
    with location.fs.open(location.at(name), "wb") as file:
        file.write(data)
    return FileEntry(name, len(data), "")


def image(values: np.ndarray, order: str = "<", scaling: Any = None) -> bytes:
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(values.dtype)
    out = nib.Nifti1Image(values, np.diag([2, 3, 4, 1]), header)
    if scaling:
        out.header.set_slope_inter(*scaling)
    return out.to_bytes()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("scaling", [None, (0.5, -3.0)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
def test_a_volume_as_nibabel_reads_it(location: Location, order: str, scaling: Any, dtype: str, name: str) -> None:
    data = image((np.arange(120).reshape(GRID) % 100).astype(dtype), order, scaling)
    truth = np.asanyarray(nib.Nifti1Image.from_bytes(data).dataobj)
    entry = put(location, gzip.compress(data) if name.endswith("gz") else data, name)
    values, header = read_volume(location, entry)
    assert values.dtype == truth.dtype.newbyteorder("=")
    np.testing.assert_array_equal(values, truth)
    np.testing.assert_array_equal(header.affine, np.diag([2, 3, 4, 1]))


def test_mask_ids_leave_out_zero_and_nan(location: Location) -> None:
    values = np.zeros(GRID, np.float32)
    values[1, 2, 3], values[0, 0, 0], values[5, 4, 3], values[2, 2, 2] = 1, -2.5, np.inf, np.nan
    ids = read_mask_ids(location, put(location, gzip.compress(image(values))), GRID)
    assert ids.dtype == np.int64
    assert ids.tolist() == [0, int(np.ravel_multi_index((1, 2, 3), GRID)), 119]


def test_a_mask_is_scaled_before_it_is_compared_with_zero(location: Location) -> None:
    data = image(np.arange(120, dtype=np.float32).reshape(GRID).astype(np.int16), scaling=(2.0, -6.0))
    truth = np.flatnonzero(np.asanyarray(nib.Nifti1Image.from_bytes(data).dataobj))
    np.testing.assert_array_equal(read_mask_ids(location, put(location, gzip.compress(data)), GRID), truth)


@given(hnp.arrays(st.sampled_from([np.uint8, np.float32, np.bool_]), hnp.array_shapes(min_dims=3, max_dims=3)))
def test_ids_are_those_of_the_c_order_ravel(volume: np.ndarray) -> None:
    truth = np.flatnonzero(np.nan_to_num(volume.ravel().astype(float), nan=0.0))
    np.testing.assert_array_equal(nonzero_ids(volume), truth)
    np.testing.assert_array_equal(nonzero_ids(np.asfortranarray(volume)), truth)


def test_an_empty_mask(location: Location) -> None:
    ids = read_mask_ids(location, put(location, gzip.compress(image(np.zeros(GRID, np.uint8)))), GRID)
    assert ids.shape == (0,)
    assert ids.dtype == np.int64


def test_several_masks_at_once(location: Location) -> None:
    masks = {f"m{n}.nii.gz": (np.random.default_rng(n).random(GRID) < 0.3).astype(np.uint8) for n in range(3)}
    entries = [put(location, gzip.compress(image(values)), name) for name, values in masks.items()]
    found = read_masks_ids(location, entries, GRID)
    assert list(found) == list(masks)
    for name, ids in found.items():
        np.testing.assert_array_equal(ids, np.flatnonzero(masks[name]))
    assert read_masks_ids(location, [], GRID) == {}


def test_a_fourth_axis_of_one_is_a_volume(location: Location) -> None:
    values = np.arange(120, dtype=np.int16).reshape(GRID)
    entry = put(location, gzip.compress(image(values[..., np.newaxis])))
    np.testing.assert_array_equal(read_volume(location, entry, GRID)[0], values)


def test_bad_volumes(location: Location) -> None:
    data = gzip.compress(image(np.random.default_rng(0).integers(0, 99, GRID).astype(np.uint8)))
    with pytest.raises(FileFormatError, match=r"m\.nii\.gz: expected a volume of shape \(3, 3, 3\), found \(6, 5, 4\)"):
        read_mask_ids(location, put(location, data), (3, 3, 3))
    with pytest.raises(FileFormatError, match="expected a single volume, found 2"):
        read_volume(location, put(location, gzip.compress(image(np.zeros((*GRID, 2), np.uint8)))))
    for damaged in (data[:-9], data[:-4], data[: len(data) // 2]):
        with pytest.raises(CorruptFileError, match=r"m\.nii\.gz is truncated"):
            read_volume(location, put(location, damaged))
    with pytest.raises(CorruptFileError, match=r"m\.nii\.gz is corrupt: CRC"):
        read_volume(location, put(location, data[:-8] + b"0000" + data[-4:]))
    with pytest.raises(FileFormatError, match="git annex get"):
        read_volume(location, put(location, b"/annex/objects/MD5--1"))
    with pytest.raises(DataNotDownloadedError, match="gone"):
        read_volume(location, FileEntry("gone.nii.gz", 10, ""))


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
def test_a_header_that_lies(location: Location, name: str) -> None:
    data = image(np.ones(GRID, np.uint8))
    for change, error in ((data[:-5], CorruptFileError), (data + b"more", FileFormatError)):
        entry = put(location, gzip.compress(change) if name.endswith("gz") else change, name)
        found = len(change) - 352
        with pytest.raises(error, match=f"expected 120 bytes of data, found {found}") as caught:
            read_volume(location, entry)
        assert type(caught.value) is error
