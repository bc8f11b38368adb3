"""Reads whole 3-D NIfTI volumes: masks, ROIs, maps on the functional grid."""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.inflate import open_inflated
from laion_xr.readers.nifti_header import NiftiHeader, take_header
from laion_xr.readers.stream import open_stream

# Masks inflated at once
THREADS = 4

Grid = tuple[int, int, int]
Ids = npt.NDArray[np.int64]
Volume = npt.NDArray[np.generic]


def read_volume(location: Location, entry: FileEntry, expect_grid: Grid | None = None) -> tuple[Volume, NiftiHeader]:
    """Return a 3-D volume and its header.

    Parameters
    ----------
    location
        The root.
    entry
        The file. A 4-D one that holds a single volume is accepted.
    expect_grid
        The shape that it must have; None for any.

    Returns
    -------
    The values (X, Y, Z) in Fortran order, of native byte order, scaled as nibabel scales; the header.

    Raises
    ------
    FileFormatError
        The file is not NIfTI, or of another shape, or holds several volumes.
    CorruptFileError
        The file is truncated or damaged.
    """
    # one request: a map is small, and there is nothing to do before its end is here
    stream = open_stream(location, entry) if location.is_local else io.BytesIO(location.read_bytes(entry))
    return _decode(stream, location.show(entry.path), expect_grid)


def read_mask(location: Location, entry: FileEntry) -> tuple[Ids, NiftiHeader]:
    """Return the voxels of a mask of any shape, as `read_mask_ids`, and its header."""
    volume, header = read_volume(location, entry)
    return nonzero_ids(volume), header


def read_mask_ids(location: Location, entry: FileEntry, grid: Grid) -> Ids:
    """Return the voxels of a mask: sorted C-order flat grid indices of what is neither 0 nor NaN.

    Parameters
    ----------
    location
        The root.
    entry
        The file.
    grid
        The shape that it must have.

    Returns
    -------
    (n,) int64, strictly increasing.

    Raises
    ------
    FileFormatError
        The file is not NIfTI, or of another shape, or holds several volumes.
    CorruptFileError
        The file is truncated or damaged.
    """
    return nonzero_ids(read_volume(location, entry, grid)[0])


def read_masks_ids(location: Location, entries: Iterable[FileEntry], grid: Grid) -> dict[str, Ids]:
    """Return the voxels of several masks by path, as `read_mask_ids`: in one batch where the place is remote."""
    wanted = list(entries)
    # on a disk a file is read when its turn comes
    held = {} if location.is_local else location.read_many(wanted)

    def ids(entry: FileEntry) -> Ids:
        path = entry.path
        stream: BinaryIO = location.open(path) if location.is_local else io.BytesIO(held.pop(path))
        return nonzero_ids(_decode(stream, location.show(path), grid)[0])

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip([entry.path for entry in wanted], pool.map(ids, wanted), strict=True))


def nonzero_ids(volume: Volume) -> Ids:
    """Return the sorted C-order flat indices of a volume's values that are neither 0 nor NaN."""
    inside = volume != 0
    if volume.dtype.kind == "f":
        inside &= ~np.isnan(volume)
    # flatnonzero is many times faster on contiguous memory, and an ROI has few voxels to reorder
    found = np.flatnonzero(inside.ravel(order="F"))
    i, j, k = np.unravel_index(found, volume.shape, order="F")
    ids: Ids = np.ravel_multi_index((i, j, k), volume.shape).astype(np.int64)
    ids.sort()
    return ids


def _decode(stream: BinaryIO, name: str, expect_grid: Grid | None) -> tuple[Volume, NiftiHeader]:
    with open_inflated(stream, name) as file:
        header = take_header(file)
        if expect_grid is not None and header.grid != tuple(expect_grid):
            raise FileFormatError(f"{name}: expected a volume of shape {tuple(expect_grid)}, found {header.grid}.")
        if header.n_volumes != 1:
            raise FileFormatError(f"{name}: expected a single volume, found {header.n_volumes} of shape {header.grid}.")
        file.skip_to(header.offset)
        data = file.read(header.volume_bytes)
        extra = file.drain() if len(data) == header.volume_bytes else 0
        if len(data) != header.volume_bytes or extra:
            kind = FileFormatError if extra else CorruptFileError
            raise kind(
                f"{name} does not hold what its header says: expected {header.volume_bytes} bytes of data, "
                f"found {len(data) + extra}. Download it again."
            )
    stored = np.frombuffer(data, header.dtype)
    if not header.dtype.isnative:
        stored = stored.astype(header.dtype.newbyteorder("="))
    return header.scale(stored).reshape(header.grid, order="F"), header
