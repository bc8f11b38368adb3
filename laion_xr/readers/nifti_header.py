"""The header of a NIfTI file as plain values: where the data lie and what they mean.

NIfTI-1 and NIfTI-2, both byte orders, single files (`.nii`, `.nii.gz`) with or without extensions. nibabel
parses; only the first bytes of a file are read.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling

from laion_xr.errors import CorruptFileError, FileFormatError, LaionXRError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.inflate import InflatedFile, inflate_head, open_inflated
from laion_xr.readers.pointers import raise_if_pointer
from laion_xr.readers.stream import open_stream

NIFTI1_SIZE, NIFTI2_SIZE = 348, 540
# header and the four bytes that say whether extensions follow: the least that lies before the data
_MINIMUM = {NIFTI1_SIZE: NIFTI1_SIZE + 4, NIFTI2_SIZE: NIFTI2_SIZE + 4}
# a compressed header takes a few hundred bytes
HEAD_BYTES = 4096

# nibabel logs what it finds odd in a header before it raises; the error says it once
_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_FATAL = 40  # nibabel's level of a header that cannot be read


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says. Picklable; arrays are read-only.

    Attributes
    ----------
    shape
        Shape of the data, at least 3-D.
    dtype
        Type of the values in the file, with their byte order.
    offset
        Where the data begin, in inflated bytes.
    slope, inter
        Scaling: value = slope * stored + inter; (1, 0) for none.
    affine
        Voxel indices to millimetres, (4, 4).
    zooms
        Size of a voxel along each axis of `shape`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    inter: float
    affine: npt.NDArray[np.float64] = field(compare=False)
    zooms: tuple[float, ...]

    @property
    def grid(self) -> tuple[int, int, int]:
        """Shape of a volume."""
        x, y, z = self.shape[:3]
        return x, y, z

    @property
    def n_volumes(self) -> int:
        """Number of volumes."""
        return math.prod(self.shape[3:])

    @property
    def volume_bytes(self) -> int:
        """Bytes of a volume."""
        return math.prod(self.grid) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Where the data end, in inflated bytes."""
        return self.offset + self.volume_bytes * self.n_volumes

    @property
    def is_scaled(self) -> bool:
        """Whether stored values are not the values."""
        return (self.slope, self.inter) != (1.0, 0.0)

    def scale(self, stored: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return the values of stored ones, in the precision that nibabel chooses (float64 or more)."""
        if not self.is_scaled:
            return stored
        # float64, as nibabel.arrayproxy passes them: Python floats would keep float32
        slope, inter = np.float64(self.slope), np.float64(self.inter)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: npt.NDArray[np.generic] = apply_read_scaling(stored, slope, inter)
        return scaled

    @classmethod
    def from_bytes(cls, head: bytes, name: str) -> NiftiHeader:
        """Parse the (inflated) first bytes of a file.

        Parameters
        ----------
        head
            The first bytes, 348 at least (540 for NIfTI-2).
        name
            Full address of the file, for messages.

        Returns
        -------
        The header.

        Raises
        ------
        CorruptFileError
            The file ends within the header.
        FileFormatError
            The file is not NIfTI, or is one that is not supported.
        """
        raise_if_pointer(head, name)
        size = header_size(head)
        if size is None:
            raise FileFormatError(
                f"{name} is not a NIfTI file: expected a header of 348 or 540 bytes, found {head[:16]!r}. "
                "Download it again, or check what it is."
            )
        if len(head) < size:
            raise CorruptFileError(
                f"{name} is truncated: it ends within its header, after {len(head)} of {size} bytes. Download it again."
            )
        _raise_if_pair(head, size, name)
        header_class: Any = Nifti1Header if size == NIFTI1_SIZE else Nifti2Header
        try:
            header = header_class(head[:size], check=False)
            header.check_fix(logger=_QUIET, error_level=_FATAL)
            return cls._from_nibabel(header, name)
        except FileFormatError:
            raise
        except (HeaderDataError, OverflowError, ValueError) as error:
            raise FileFormatError(
                f"{name} has a NIfTI header that cannot be read: {error}. Check it, or download it again."
            ) from None

    @classmethod
    def _from_nibabel(cls, header: Nifti1Header, name: str) -> NiftiHeader:
        dtype = header.get_data_dtype()
        if dtype.kind not in "iuf":
            kind = header.get_value_label("datatype")
            raise FileFormatError(
                f"{name} holds values of type {kind!r}: expected integers or real numbers. "
                "Complex, RGB and bit images are not supported."
            )
        shape = tuple(int(n) for n in header.get_data_shape())
        if not shape or min(shape) < 0:
            raise FileFormatError(f"{name} has a broken NIfTI header: its shape is {shape}. Download it again.")
        slope, inter = header.get_slope_inter()
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        affine.setflags(write=False)
        pad = 3 - len(shape)
        return cls(
            shape=shape + (1,) * pad,
            dtype=dtype,
            # 0 in a single file means "right after the header"
            offset=max(int(header.get_data_offset()), _MINIMUM[int(header["sizeof_hdr"])]),
            slope=1.0 if slope is None else float(slope),
            inter=0.0 if inter is None else float(inter),
            affine=affine,
            zooms=tuple(float(z) for z in header.get_zooms()) + (1.0,) * pad,
        )


def header_size(head: bytes) -> int | None:
    """Return the size of the header that begins so (348 or 540), or None for neither."""
    sizes = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    return next((size for size in sizes if size in _MINIMUM), None)


def take_header(file: InflatedFile) -> NiftiHeader:
    """Read the header from an open file at its beginning; the file is left after it, before the data."""
    head = file.read(_MINIMUM[NIFTI1_SIZE])
    if header_size(head) == NIFTI2_SIZE:
        head += file.read(_MINIMUM[NIFTI2_SIZE] - len(head))
    return NiftiHeader.from_bytes(head, file.name)


def read_header(location: Location, entry: FileEntry) -> NiftiHeader:
    """Return the header of one file; only its first bytes are read."""
    return read_headers(location, [entry])[entry.path]


def read_headers(
    location: Location, entries: Iterable[FileEntry], refused: MutableMapping[str, LaionXRError] | None = None
) -> dict[str, NiftiHeader]:
    """Return the headers of several files by path: in one concurrent batch where the place is remote.

    Parameters
    ----------
    location
        The root.
    entries
        The files.
    refused
        Takes up the errors of files that may not be read, by path, instead of raising the first.

    Returns
    -------
    Path of each file -> its header.

    Raises
    ------
    FileFormatError
        A file is not NIfTI, or is one that is not supported, or is a pointer.
    """
    by_path = {entry.path: entry for entry in entries}
    heads = location.read_many(by_path.values(), HEAD_BYTES, refused)
    headers = {}
    for path, data in heads.items():
        head = inflate_head(data, _MINIMUM[NIFTI2_SIZE])
        if len(head) >= _MINIMUM[NIFTI2_SIZE]:
            headers[path] = NiftiHeader.from_bytes(head, location.show(path))
        else:  # a gzip header longer than ours, a tiny file, or a damaged one: the slow way finds out
            with open_inflated(open_stream(location.uncached, by_path[path]), location.show(path)) as file:
                headers[path] = take_header(file)
    return headers


def _raise_if_pair(head: bytes, size: int, name: str) -> None:
    magic = head[344:348] if size == NIFTI1_SIZE else head[4:8]
    if magic[:3] in (b"ni1", b"ni2"):
        raise FileFormatError(
            f"{name} is the header of a .hdr/.img pair: expected a single file (.nii or .nii.gz). "
            "Pairs are not supported; convert it with nibabel."
        )
    if magic[:3] not in (b"n+1", b"n+2"):
        raise FileFormatError(
            f"{name} is not a NIfTI file: its magic string is {magic!r} (an Analyze file?). "
            "Download it again, or convert it with nibabel."
        )
