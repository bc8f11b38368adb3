"""Masks on the surface."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.surface import read_freesurfer_label, read_gifti_mask


def put(folder: Path, name: str, data: bytes) -> tuple[Location, FileEntry]:
    (folder / name).write_bytes(data)
    return Location.of(folder), FileEntry(name, len(data), "")


def gifti(*arrays: np.ndarray) -> bytes:
    return nib.GiftiImage(darrays=[nib.gifti.GiftiDataArray(a) for a in arrays]).to_bytes()


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8])
def test_gifti(tmp_path: Path, dtype: type) -> None:
    values = np.array([0, 1, 0, 3, 1], dtype=dtype)
    mask = read_gifti_mask(*put(tmp_path, "m.func.gii", gifti(values)))
    assert mask.dtype == np.bool_
    assert mask.tolist() == [False, True, False, True, True]


def test_gifti_leaves_out_nan(tmp_path: Path) -> None:
    location, entry = put(tmp_path, "m.func.gii", gifti(np.array([np.nan, 0.5], np.float32)))
    assert read_gifti_mask(location, entry).tolist() == [False, True]


def test_bad_gifti(tmp_path: Path) -> None:
    good = gifti(np.arange(500, dtype=np.float32))
    with pytest.raises(CorruptFileError, match=r"m\.func\.gii is truncated or damaged"):
        read_gifti_mask(*put(tmp_path, "m.func.gii", good[: len(good) // 2]))
    at = good.index(b"<Data>") + 20
    with pytest.raises(CorruptFileError, match=r"m\.func\.gii is truncated or damaged"):
        read_gifti_mask(*put(tmp_path, "m.func.gii", good[:at] + b"AAAA" + good[at + 4 :]))
    for arrays in ([], [np.ones(3, np.float32)] * 2, [np.ones((3, 3), np.float32)]):
        with pytest.raises(FileFormatError, match="expected one array of one value a vertex"):
            read_gifti_mask(*put(tmp_path, "m.func.gii", gifti(*arrays)))
    with pytest.raises(FileFormatError, match="not a GIfTI file"):
        read_gifti_mask(*put(tmp_path, "m.func.gii", b"label"))
    with pytest.raises(FileFormatError, match="git lfs pull"):
        read_gifti_mask(*put(tmp_path, "m.func.gii", b"version https://git-lfs"))
    with pytest.raises(DataNotDownloadedError, match="gone"):
        read_gifti_mask(Location.of(tmp_path), FileEntry("gone.func.gii", 1, ""))


LABEL = b"""#!ascii label  , from subject sub-03 vox2ras=TkReg
3
12  -10.5  2.25  30.0 0.5
7  1e1  -2.0  3.5 0.0000000000
160000  0.0  0.0  -0.125 1
"""


def test_freesurfer_label(tmp_path: Path) -> None:
    label = read_freesurfer_label(*put(tmp_path, "m.label", LABEL))
    assert label.vertices.tolist() == [12, 7, 160000]
    assert label.coords.tolist() == [[-10.5, 2.25, 30], [10, -2, 3.5], [0, 0, -0.125]]
    assert label.values.tolist() == [0.5, 0, 1]
    (tmp_path / "m.label").write_bytes(LABEL)
    np.testing.assert_array_equal(label.vertices, nib.freesurfer.read_label(tmp_path / "m.label"))


def test_an_empty_label(tmp_path: Path) -> None:
    label = read_freesurfer_label(*put(tmp_path, "m.label", b"#!ascii label\n0\n"))
    assert (label.vertices.shape, label.coords.shape, label.values.shape) == ((0,), (0, 3), (0,))
    assert label.vertices.dtype == np.int64


def test_bad_labels(tmp_path: Path) -> None:
    for data in (LABEL.replace(b"\n3\n", b"\n4\n"), LABEL.replace(b"\n3\n", b"\n2\n"), LABEL[:-20]):
        with pytest.raises(CorruptFileError, match=r"m\.label: expected \d vertices, found \d.*Download it again"):
            read_freesurfer_label(*put(tmp_path, "m.label", data))
    for data in (b"", b"#!ascii\n", b"<html>", LABEL.replace(b"30.0", b"thirty")):
        with pytest.raises(FileFormatError, match=r"m\.label is not a FreeSurfer label"):
            read_freesurfer_label(*put(tmp_path, "m.label", data))
    with pytest.raises(FileFormatError, match="git annex get"):
        read_freesurfer_label(*put(tmp_path, "m.label", b"/annex/objects/MD5E-s1--a.label"))
