"""A Dataset as a folder that plain NumPy reads: an `.npy` file a variable, and a JSON that says what they are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from laion_xr._version import __version__
from laion_xr.analysis.nifti import local_path
from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.exports.assembly import labelled
from laion_xr.exports.attributes import attributes_of, plain, without_local_root
from laion_xr.exports.folders import (
    DESCRIPTION,
    file_names,
    new_folder,
    read_description,
    write_description,
)
from laion_xr.exports.npy import NpyFile, fill, lazy_npy, storable
from laion_xr.lazy.variable import lazy_variable

KIND = "NumPy folder"
VERSION = 1


def to_numpy(obj: xr.Dataset | xr.DataArray, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a Dataset, or an array with its labels, as `.npy` files that plain `numpy.load` reads.

    `betas.npy` and a file for every other variable and coordinate, and `dataset.json`: their dims, dtypes, units, the
    attributes and checksums. Each session is read once and written when it is there: memory is a session, or as many
    as fit into half of `decode_budget`, never a subject. Averages of `.nii.gz` files are in memory whole, as one pass
    over the files makes all of them; from a store they come in blocks of voxels.

    Parameters
    ----------
    obj
        Any Dataset or array. What is in it is written: `ds[["betas"]]` leaves out the maps.
    folder
        It appears when it is complete.
    overwrite
        Replace a folder that an earlier call wrote. Other folders are never replaced.

    Returns
    -------
    Path
        The folder. Text is in a fixed width (`<U...`), nothing is pickled. The local folder that the data were opened
        from is not in it.

    Raises
    ------
    SelectionError
        The folder is there; a variable or attribute that is neither numbers nor text.

    Examples
    --------
    >>> ds.sel(roi="FFA1").laion.to_numpy_folder("ffa1")  # doctest: +SKIP
    >>> np.load("ffa1/betas.npy", mmap_mode="r"), np.load("ffa1/stimulus.npy")  # doctest: +SKIP
    """
    ds = obj.to_dataset(name="values" if obj.name is None else obj.name) if isinstance(obj, xr.DataArray) else obj
    attrs = plain(attributes_of(obj) if isinstance(obj, xr.DataArray) else without_local_root(obj.attrs), "the data")
    variables: dict[str, Any] = {}
    files = dict(zip(ds.variables, file_names(ds.variables), strict=True))
    with new_folder(folder, KIND, overwrite) as partial:
        ready = {name: storable(variable.data, str(name)) for name, variable in ds.variables.items()}
        described = {n: plain(without_local_root(v.attrs), f"the variable {n}") for n, v in ds.variables.items()}
        # room for all of them before the first is read
        targets = {n: NpyFile.create(partial / f"{files[n]}.npy", v.shape, v.dtype) for n, v in ready.items()}
        for name, variable in ds.variables.items():
            written = targets[name]
            fill(written, ready.pop(name))
            path = Path(written.path)
            variables[str(name)] = {
                "file": path.name,
                "dims": [str(dim) for dim in variable.dims],
                "shape": list(written.shape),
                "dtype": written.dtype.str,
                "coordinate": name in ds.coords,
                "attrs": described[name],
                "sha256": _sha256(path),
            }
        content = {
            "version": VERSION,
            "laion_xr_version": __version__,
            "numpy_version": np.__version__,
            "dims": {str(dim): size for dim, size in ds.sizes.items()},
            "attrs": attrs,
            "variables": variables,
        }
        write_description(partial, KIND, content)
    return Path(folder)


def read_numpy(folder: str | os.PathLike[str], *, verify: bool = False) -> xr.Dataset:
    """Open a folder that `to_numpy` wrote as a Dataset, its labels indexed.

    Parameters
    ----------
    folder
        The folder.
    verify
        Compare every file with its checksum first.

    Returns
    -------
    xr.Dataset
        Coordinates in memory, all else lazy. It does not know a local folder that the data were in: give `root=` to
        what needs images or surfaces.

    Raises
    ------
    FileFormatError
        No folder of this kind, a file that is missing, or one that does not hold what the JSON says.
    CorruptFileError
        With `verify`: a file whose checksum differs.

    Examples
    --------
    >>> read_numpy("ffa1").sel(session="ses-01").betas  # doctest: +SKIP
    """
    place = local_path(folder, "folder", "folder")
    content = read_description(place, KIND)
    if content.get("version") != VERSION:
        raise FileFormatError(
            f"Expected version {VERSION} of a NumPy folder in {place}, found {content.get('version')!r}: a newer "
            "laion_xr reads it."
        )
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, entry in _entries(content, place).items():
        path = place / entry["file"]
        file = NpyFile.open(path)
        if list(file.shape) != entry["shape"] or file.dtype.str != entry["dtype"]:
            raise FileFormatError(
                f"Expected {entry['dtype']} {tuple(entry['shape'])} in {path}, found {file.dtype.str} {file.shape}: "
                "the file is not the one that was written."
            )
        if verify and _sha256(path) != entry["sha256"]:
            raise CorruptFileError(f"The checksum of {path} is not the one it was written with: copy it again.")
        dims = tuple(entry["dims"])
        if entry["coordinate"]:
            values = file[...]
            coords[name] = (dims, values, entry["attrs"])
        else:
            variables[name] = lazy_variable(dims, lazy_npy(file, entry["sha256"]), entry["attrs"])
    return labelled(xr.Dataset(variables, attrs=content["attrs"]), coords)


def _entries(content: dict[str, Any], place: Path) -> dict[str, Any]:
    entries: Any = content.get("variables")
    needed = {"file", "dims", "shape", "dtype", "coordinate", "attrs", "sha256"}
    there = isinstance(entries, dict) and "attrs" in content
    if not there or any(not isinstance(entry, dict) or needed - set(entry) for entry in entries.values()):
        raise FileFormatError(f"Expected {place / DESCRIPTION} to describe variables, as to_numpy writes it.")
    found: dict[str, Any] = entries
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
