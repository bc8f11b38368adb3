"""Whether `.gz` and `.nii` files are whole: by their ends, by all their bytes, and by what their headers say."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from laion_xr.access.gzips import gzip_problem, members_problem, nifti_problem, nifti_size

SHAPE = (5, 6, 7, 3)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A NIfTI file as nibabel writes it, of bytes that do not deflate."""
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random(SHAPE).astype(np.float32), np.eye(4)), path)
    return path


def problems(path: Path) -> list[str | None]:
    return [gzip_problem(path, deep) for deep in (False, True)]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">f4", np.float64])
def test_what_nibabel_writes_is_whole(tmp_path: Path, kind: type, dtype: object) -> None:
    image = kind(np.zeros(SHAPE, dtype), np.eye(4))
    for name in ("a.nii.gz", "a.nii"):
        nib.save(image, tmp_path / name)
    assert problems(tmp_path / "a.nii.gz") == [None, None]
    assert nifti_problem(tmp_path / "a.nii") is None
    assert nifti_size((tmp_path / "a.nii").read_bytes()[:540]) == (tmp_path / "a.nii").stat().st_size


@pytest.mark.parametrize("cuts", [[1], [100, 352], [348], [1000], [0], [352, 352], [200, 400, 2000]])
def test_several_members_are_whole(whole: Path, cuts: list[int]) -> None:
    data = gzip.decompress(whole.read_bytes())
    ends = [0, *cuts, len(data)]
    whole.write_bytes(b"".join(gzip.compress(data[a:b]) for a, b in itertools.pairwise(ends)))
    np.testing.assert_array_equal(np.asarray(nib.load(whole).dataobj).shape, SHAPE)  # nibabel reads it
    assert problems(whole) == [None, None]


def test_an_empty_member_at_the_end_is_whole(whole: Path) -> None:
    whole.write_bytes(whole.read_bytes() + gzip.compress(b""))  # as bgzip ends its files
    assert problems(whole) == [None, None]


@pytest.mark.parametrize("left", [1, 5, 19, 50, 200, 1000, -100, -8, -1])
def test_a_cut_is_seen_without_inflating(whole: Path, left: int) -> None:
    whole.write_bytes(whole.read_bytes()[:left])
    assert None not in problems(whole)


def test_a_cut_of_several_members_is_seen(whole: Path) -> None:
    data = gzip.decompress(whole.read_bytes())
    first, second = gzip.compress(data[:1000]), gzip.compress(data[1000:])
    whole.write_bytes(first)
    assert all("truncated" in (p or "") for p in problems(whole))
    whole.write_bytes(first + second[:-30])
    assert all("truncated" in (p or "") for p in problems(whole))
    whole.write_bytes(first + second + second)
    assert all("longer than its header says" in (p or "") for p in problems(whole))


def test_what_only_all_bytes_tell(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 0xFF
    whole.write_bytes(data)
    assert gzip_problem(whole) is None
    assert "damaged" in str(gzip_problem(whole, deep=True))
    assert "damaged" in str(members_problem(whole))


def test_what_is_no_nifti_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"a table, and no volume\n" * 50))
    assert all("no NIfTI file" in (p or "") for p in problems(path))
    # a download keeps what its source has, and what is no volume by its name need not be one
    assert members_problem(path) is None
    assert problems(path.rename(tmp_path / "a.tsv.gz")) == [None, None]
    (tmp_path / "b.nii.gz").write_bytes(b"no gzip at all")
    assert "no gzip file" in str(gzip_problem(tmp_path / "b.nii.gz"))


@pytest.mark.parametrize("left", [0, 100, 347, 352, 1000, -1])
def test_plain_files_that_are_cut(whole: Path, tmp_path: Path, left: int) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.decompress(whole.read_bytes()))
    assert nifti_problem(path) is None
    path.write_bytes(path.read_bytes()[:left])
    assert "truncated" in str(nifti_problem(path))


@pytest.mark.parametrize("offset", [np.nan, np.inf, -1.0])
def test_a_header_of_nonsense_is_none(offset: float) -> None:
    header = nib.Nifti1Header()
    header["vox_offset"] = offset
    assert nifti_size(header.binaryblock) is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for found in (gzip_problem(tmp_path / "a.nii.gz"), nifti_problem(tmp_path / "a.nii"), members_problem(tmp_path)):
        assert "cannot be read" in str(found)
