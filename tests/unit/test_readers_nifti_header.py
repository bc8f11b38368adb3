"""NIfTI headers: equal to nibabel's, from the first bytes of a file only."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import fsspec
import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path

from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileAccessError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.nifti_header import HEAD_BYTES, NiftiHeader, read_header, read_headers

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -120], [0, 0, 3, -70], [0, 0, 0, 1]])


def header_bytes(header_class: type = nib.Nifti1Header, order: str = "<", **fields: Any) -> bytes:
    header = header_class(endianness=order)
    header.set_data_dtype(np.int16)
    header.set_data_shape((4, 5, 6, 7))
    header.set_zooms((2, 2, 3, 1.5))
    header.set_sform(AFFINE, 1)
    header["vox_offset"] = header["sizeof_hdr"].item() + 4
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("header_class", [nib.Nifti1Header, nib.Nifti2Header])
def test_both_versions_and_byte_orders(header_class: type, order: str) -> None:
    data = header_bytes(header_class, order, scl_slope=0.5, scl_inter=-3, vox_offset=1024)
    header = NiftiHeader.from_bytes(data + b"more", "f.nii")
    assert header.shape == (4, 5, 6, 7)
    assert header.dtype == np.dtype(f"{order}i2")
    assert header.offset == 1024
    assert (header.slope, header.inter) == (0.5, -3.0)
    assert header.is_scaled
    np.testing.assert_array_equal(header.affine, AFFINE)
    assert header.zooms == (2, 2, 3, 1.5)
    assert (header.grid, header.n_volumes, header.volume_bytes) == ((4, 5, 6), 7, 240)
    assert header.end == 1024 + 7 * 240
    copy = pickle.loads(pickle.dumps(header))
    assert copy == header
    np.testing.assert_array_equal(copy.affine, AFFINE)


@pytest.mark.parametrize(("slope", "inter"), [(0, 5), (np.nan, 0), (np.inf, 1), (1, 0)])
def test_no_scaling(slope: float, inter: float) -> None:
    header = NiftiHeader.from_bytes(header_bytes(scl_slope=slope, scl_inter=inter), "f.nii")
    assert not header.is_scaled
    stored = np.arange(3, dtype=np.int16)
    assert header.scale(stored) is stored


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 6), (4, 5, 6, 1), (4, 5, 6, 1, 2)])
def test_fewer_and_more_axes(shape: tuple[int, ...]) -> None:
    block = nib.Nifti1Header()
    block.set_data_shape(shape)
    header = NiftiHeader.from_bytes(block.binaryblock, "f.nii")
    assert header.shape == shape + (1,) * (3 - len(shape))
    assert len(header.zooms) == len(header.shape)


def test_an_offset_of_zero_means_after_the_header() -> None:
    assert NiftiHeader.from_bytes(header_bytes(vox_offset=0), "f.nii").offset == 352
    assert NiftiHeader.from_bytes(header_bytes(nib.Nifti2Header, vox_offset=0), "f.nii").offset == 544


@pytest.mark.parametrize("name", ["example4d.nii.gz", "functional.nii", "example_nifti2.nii.gz"])
def test_real_scanner_files(name: str) -> None:
    path = Path(data_path) / name
    header = read_header(Location.of(path.parent), FileEntry(name, path.stat().st_size, ""))
    image = nib.load(path)
    assert header.shape == image.shape
    assert header.dtype == image.get_data_dtype()
    assert header.offset == image.dataobj.offset
    assert (header.slope, header.inter) == (image.dataobj.slope, image.dataobj.inter)
    np.testing.assert_array_equal(header.affine, image.affine)
    assert header.zooms == image.header.get_zooms()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (header_bytes(magic=b"ni1"), r"\.hdr/\.img pair"),
        (header_bytes(magic=b""), "not a NIfTI file: its magic"),
        (header_bytes(datatype=32, bitpix=64), "values of type 'complex64'"),
        (header_bytes(datatype=128, bitpix=24), "values of type 'RGB'"),
        (header_bytes(datatype=7), "cannot be read"),
        (header_bytes(vox_offset=100), "cannot be read.*vox offset"),
        (header_bytes(vox_offset=np.nan), "cannot be read"),
        (header_bytes(scl_slope=2, scl_inter=np.inf), "cannot be read.*intercept"),
        (header_bytes(dim=[4, -5, 5, 5, 5, 1, 1, 1]), "its shape is"),
        (b"PNG" * 200, "is not a NIfTI file: expected a header of 348 or 540 bytes"),
        (b"", "is not a NIfTI file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_bad_headers(data: bytes, match: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileFormatError, match=match) as caught:
        NiftiHeader.from_bytes(data, "s3://bucket/f.nii")
    assert "s3://bucket/f.nii" in str(caught.value)
    assert capfd.readouterr() == ("", "")  # one error, and nothing that nibabel logs


def test_a_file_that_ends_in_its_header() -> None:
    with pytest.raises(CorruptFileError, match="ends within its header, after 200 of 348 bytes"):
        NiftiHeader.from_bytes(header_bytes()[:200], "f.nii")


# --- many files


@pytest.fixture(params=["local", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.of(tmp_path if request.param == "local" else f"memory://header-{tmp_path.name}")


def put(location: Location, name: str, data: bytes) -> FileEntry:
    with location.fs.open(location.at(name), "wb") as file:
        file.write(data)
    return FileEntry(name, len(data), "")


def test_many_headers_take_the_first_bytes_of_each(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    body = np.random.default_rng(0).bytes(100_000)
    entries = [
        put(location, "a.nii.gz", gzip.compress(header_bytes() + body)),
        put(location, "b.nii", header_bytes(nib.Nifti2Header, ">") + body),
        put(location, "c.nii.gz", gzip.compress(header_bytes()[:300]) + gzip.compress(header_bytes()[300:] + body)),
    ]
    calls: list[Any] = []
    real = Location.read_many

    def recorded(self: Location, files: Any, end: int | None = None, refused: Any = None) -> dict[str, bytes]:
        blocks = real(self, files, end, refused)
        calls.append([len(block) for block in blocks.values()])
        return blocks

    monkeypatch.setattr(Location, "read_many", recorded)
    headers = read_headers(location, entries)
    assert list(headers) == ["a.nii.gz", "b.nii", "c.nii.gz"]
    assert [h.offset for h in headers.values()] == [352, 544, 352]
    assert calls == [[HEAD_BYTES] * 3]
    assert read_headers(location, []) == {}


def test_a_gzip_header_longer_than_what_was_fetched(location: Location) -> None:
    data = gzip.compress(header_bytes() + bytes(1000))
    # FEXTRA: 60,000 bytes before the compressed data
    extra = np.random.default_rng(0).bytes(60_000)
    long = data[:3] + b"\x04" + data[4:10] + len(extra).to_bytes(2, "little") + extra + data[10:]
    assert read_header(location, put(location, "f.nii.gz", long)).shape == (4, 5, 6, 7)


def test_a_tiny_volume_is_shorter_than_the_largest_header(location: Location) -> None:
    image = nib.Nifti1Image(np.ones((1, 1, 1), np.uint8), np.eye(4))
    for name, data in {"t.nii.gz": gzip.compress(image.to_bytes()), "t.nii": image.to_bytes()}.items():
        assert read_header(location, put(location, name, data)).shape == (1, 1, 1)


@pytest.mark.parametrize("keep", [0, 4, 20, 60])
def test_a_truncated_file(location: Location, keep: int) -> None:
    entry = put(location, "f.nii.gz", gzip.compress(header_bytes())[:keep])
    with pytest.raises(FileFormatError, match=r"f\.nii\.gz"):
        read_header(location, entry)


def test_missing_and_denied(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = FileEntry("gone.nii.gz", 9, "")
    with pytest.raises(DataNotDownloadedError, match=r"gone\.nii\.gz is not there"):
        read_header(location, entry)

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError

    monkeypatch.setattr("laion_xr.location.open", denied, raising=False)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", denied)
    with pytest.raises(FileAccessError, match=r"gone\.nii\.gz may not be read"):
        read_header(location, entry)
