"""Reads masks on the cortical surface: GIfTI and FreeSurfer's ASCII labels."""

from __future__ import annotations

import zlib
from typing import NamedTuple
from xml.parsers.expat import ExpatError

import numpy as np
import numpy.typing as npt
from nibabel.gifti.gifti import GiftiImage
from nibabel.gifti.parse_gifti_fast import GiftiParseError

from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.pointers import raise_if_pointer


class SurfaceLabel(NamedTuple):
    """A FreeSurfer label: some vertices of a surface."""

    vertices: npt.NDArray[np.int64]  # (n,)
    coords: npt.NDArray[np.float64]  # (n, 3) mm, surface RAS
    values: npt.NDArray[np.float64]  # (n,) the statistic of each


def read_gifti_mask(location: Location, entry: FileEntry) -> npt.NDArray[np.bool_]:
    """Return a mask of a surface.

    Parameters
    ----------
    location
        The root.
    entry
        The file, `.func.gii`.

    Returns
    -------
    (n_vertices,): True where the value is neither 0 nor NaN.

    Raises
    ------
    FileFormatError
        The file is not GIfTI, or does not hold one value a vertex.
    CorruptFileError
        The file is truncated or damaged.
    """
    name = location.show(entry.path)
    data = location.read_bytes(entry.path)
    raise_if_pointer(data[:512], name)
    if b"<GIFTI" not in data[:4096]:
        raise FileFormatError(f"{name} is not a GIfTI file: it begins with {data[:16]!r}. Download it again.")
    try:
        arrays = GiftiImage.from_bytes(data).darrays
        values = [np.asarray(array.data) for array in arrays]
    except (ExpatError, GiftiParseError, zlib.error, ValueError, KeyError) as error:
        raise CorruptFileError(f"{name} is truncated or damaged: {error}. Download it again.") from None
    if len(values) != 1 or values[0].squeeze().ndim != 1:
        found = [array.shape for array in values]
        raise FileFormatError(f"{name}: expected one array of one value a vertex, found arrays of shape {found}.")
    flat = values[0].ravel()
    mask: npt.NDArray[np.bool_] = (flat != 0) & (flat == flat)
    return mask


def read_freesurfer_label(location: Location, entry: FileEntry) -> SurfaceLabel:
    """Return the vertices of a FreeSurfer label (ASCII).

    The format: a comment line, the number of vertices, then a line a vertex: index, x, y, z, value.

    Parameters
    ----------
    location
        The root.
    entry
        The file, `.label`.

    Returns
    -------
    The vertices, in the order of the file.

    Raises
    ------
    FileFormatError
        The file is not a label.
    CorruptFileError
        The file has fewer or more vertices than it says.
    """
    name = location.show(entry.path)
    data = location.read_bytes(entry.path)
    raise_if_pointer(data[:512], name)
    lines = [line for line in data.decode("latin-1").splitlines() if line.strip() and not line.startswith("#")]
    try:
        count = int(lines[0])
        cells = np.array(" ".join(lines[1:]).split(), dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise FileFormatError(
            f"{name} is not a FreeSurfer label: expected a count and rows of five numbers ({error}). Download it again."
        ) from None
    if cells.size != 5 * count:
        raise CorruptFileError(f"{name}: expected {count} vertices, found {cells.size / 5:g}. Download it again.")
    rows = cells.reshape(count, 5)
    return SurfaceLabel(rows[:, 0].astype(np.int64), rows[:, 1:4].copy(), rows[:, 4].copy())
