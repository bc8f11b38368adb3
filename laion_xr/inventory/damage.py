"""What is wrong with one file that is here, seen from its ends and its header, or from all of its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from laion_xr import layout
from laion_xr.access.gzips import gzip_problem, nifti_problem
from laion_xr.errors import LaionXRError
from laion_xr.listing import FileEntry
from laion_xr.location import Location
from laion_xr.readers.annotations import parse_captions, parse_masks
from laion_xr.readers.embeddings import read_embedding_table
from laion_xr.readers.hdf5 import opened_hdf5
from laion_xr.readers.images import read_image_info, read_mask_shape
from laion_xr.readers.pointers import pointer_error
from laion_xr.readers.surface import read_freesurfer_label, read_gifti_mask

# FreeSurfer's volumes are gzip files too
GZIPPED = (".gz", ".mgz")
_POINTER_MOST = 4096
_BLOCK = 64 << 20
_END_OF_GIFTI = b"</GIFTI>"


def file_problem(location: Location, file: FileEntry, deep: bool = False) -> str | None:
    """Return what is wrong with a file of a folder of this machine, or None.

    Parameters
    ----------
    location
        The folder.
    file
        The file, as it is listed.
    deep
        Read all of it: the checksums inside `.gz`, every array of HDF5, every number of a surface. Else what its
        beginning and its length tell, and small tables.
    """
    path = Path(location.at(file.path))
    if not path.exists():
        return "it is a link to data that was not fetched (git-annex)."
    if file.size == 0:
        return "it is empty."
    try:
        if file.size < _POINTER_MOST and (error := pointer_error(path.read_bytes(), file.path)) is not None:
            return f"it is {str(error).removeprefix(f'{file.path} is ')}"
        return _content_problem(location, file, path, deep)
    except LaionXRError as error:
        return as_said_of_it(str(error), str(path))
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})."


def as_said_of_it(sentence: str, name: str) -> str:
    """Return a sentence that begins with a file's name without it: where it is shown the name stands before."""
    rest = sentence.removeprefix(f"{name} ")
    return sentence if rest == sentence else f"it {rest}"


def _content_problem(location: Location, file: FileEntry, path: Path, deep: bool) -> str | None:
    problem = None
    if path.name.endswith(GZIPPED):
        problem = gzip_problem(path, deep)
    elif path.name.endswith(".nii"):
        problem = nifti_problem(path)
    elif path.name.endswith(".h5"):
        problem = _hdf5_problem(location, file, deep)
    elif path.name.endswith(".json"):
        problem = _json_problem(path)
    elif path.name.endswith(".gii"):
        problem = _gifti_problem(location, file, path, deep)
    elif path.name.endswith("_mask.label") and deep:
        read_freesurfer_label(location, file)
    elif file.path == layout.stimulus_path("captions"):
        parse_captions(path.read_bytes(), str(path))
    elif file.path == layout.stimulus_path("segmentations_metadata"):
        parse_masks(path.read_bytes(), str(path))
    return None if problem is None else f"{problem}."


def _hdf5_problem(location: Location, file: FileEntry, deep: bool) -> str | None:
    # the library knows how long a file should be: to open it says whether it was cut off
    with opened_hdf5(location, file) as opened:
        if deep:
            opened.visititems(_read_all)
    if layout.embedding_model(file.path) is not None:
        read_embedding_table(location, file)
    elif file.path == layout.stimulus_path("images"):
        read_image_info(location, file)
    elif file.path == layout.stimulus_path("segmentations"):
        read_mask_shape(location, file)
    return None


def _read_all(name: str, item: object) -> None:
    """Read an array, some of its rows at a time; the library checks what can be checked, and raises OSError."""
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return
    if item.ndim == 0:
        _ = item[()]
        return
    row = int(np.prod(item.shape[1:], dtype=np.int64)) * item.dtype.itemsize
    rows: int = item.chunks[0] if item.chunks else 1
    step = max(_BLOCK // max(row * rows, 1), 1) * rows
    for start in range(0, item.shape[0], step):
        _ = item[start : start + step]


def _json_problem(path: Path) -> str | None:
    try:
        found: Any = json.loads(path.read_bytes())
    except ValueError as error:
        return f"it is no JSON ({error})"
    return None if isinstance(found, (dict, list)) else f"it holds a {type(found).__name__}, and no JSON object"


def _gifti_problem(location: Location, file: FileEntry, path: Path, deep: bool) -> str | None:
    with path.open("rb") as opened:
        opened.seek(max(file.size - 256, 0))
        if not opened.read().rstrip().endswith(_END_OF_GIFTI):
            return "it is truncated (it does not end as GIFTI does)"
    if deep and (parsed := layout.parse_roi_path(file.path)) is not None and parsed.form == "gifti":
        read_gifti_mask(location, file)
    return None
