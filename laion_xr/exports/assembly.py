"""Betas as Brain-Score keeps measurements: an array (presentation, neuroid) with labels on both dims, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from laion_xr.analysis.features import betas_of
from laion_xr.errors import SelectionError, describe_names
from laion_xr.exports.attributes import attributes_of, plain, without_local_root
from laion_xr.indexes import index_labels
from laion_xr.lazy.variable import lazy_variable
from laion_xr.schema import STIMULUS, SUBJECT, TRIAL, VOXEL

PRESENTATION, NEUROID = "presentation", "neuroid"
# What Brain-Score calls by a name of its own; all else keeps ours
BRAIN_SCORE = {STIMULUS: "stimulus_id", "roi": "region"}
OURS = {theirs: ours for ours, theirs in BRAIN_SCORE.items()}
NEUROID_ID = "neuroid_id"
OF_ARRAY = ("long_name", "units")


def to_assembly(obj: xr.Dataset | xr.DataArray, *, subject: str | None = None) -> xr.DataArray:
    """Return betas as an assembly of Brain-Score, (presentation, neuroid).

    Lazy where the betas are: nothing is read, and a selection by position still narrows what is read. Brain-Score's
    packages want an older xarray and NumPy than laion_xr: write the assembly with `to_netcdf`, and there give the file
    to `NeuroidAssembly.from_files`, or the opened array to `NeuroidAssembly`, which makes its own MultiIndexes.

    Parameters
    ----------
    obj
        A Dataset with `betas`, or betas: (trial, voxel), or (stimulus, voxel) where repeats are averaged. Of one
        subject or several (`shared`).
    subject
        Name of the subject, where `obj` does not say it: an array knows its voxels, not whose they are.

    Returns
    -------
    xr.DataArray
        The betas, NaN kept. On `presentation`: `stimulus_id`, and of single trials `repetition`, `session`, `run`,
        `trial` and all else of the trials. On `neuroid`: `neuroid_id` (text, such as `"sub-03_12345"`: subject and
        voxel id), `subject`, `region` (the names of the ROIs, joined by `+`), `voxel`, positions and noise ceiling. No
        indexes, so that netCDF takes it; the attributes are those of the betas and of the Dataset, without the folder
        that they were opened from.

    Raises
    ------
    SelectionError
        No betas, other dims, or no names of stimuli or voxel ids.

    Examples
    --------
    >>> ds.laion.zscore().laion.average_repeats().laion.to_assembly().to_netcdf("assembly.nc")  # doctest: +SKIP
    """
    betas, row = betas_of(obj, "to_assembly")
    for name, dim in ((STIMULUS, row), (VOXEL, VOXEL)):
        if name not in betas.coords or betas[name].dims != (dim,):
            there = [str(n) for n, c in betas.coords.items() if c.dims == (dim,)]
            raise SelectionError(
                f"to_assembly needs the coordinate {name!r} on {dim!r}; here are {describe_names(there)}: keep it when "
                "you select."
            )
    attrs = attributes_of(obj)
    of_several = SUBJECT in betas.coords and betas[SUBJECT].dims == (VOXEL,)
    coords: dict[str, Any] = {}
    for key, c in betas.coords.items():
        name = str(key)
        dims = tuple({row: PRESENTATION, VOXEL: NEUROID}[str(dim)] for dim in c.dims)
        coords[BRAIN_SCORE.get(name, name)] = (dims, c.values, without_local_root(c.attrs))
    voxels = betas[VOXEL].values
    if of_several:
        whose = betas[SUBJECT].values.astype(str)
    else:
        subject = subject if subject is not None else attrs.get(SUBJECT)
        whose = np.full(len(voxels), str(subject or ""), dtype=object)
        if subject:
            attrs[SUBJECT] = subject
            coords[SUBJECT] = (NEUROID, whose, {"long_name": "subject"})
    ids = [f"{name}_{voxel}" if name else str(voxel) for name, voxel in zip(whose, voxels, strict=True)]
    coords[NEUROID_ID] = (NEUROID, np.array(ids, dtype=object), {"long_name": "subject and voxel"})
    ds = xr.Dataset({"betas": lazy_variable((PRESENTATION, NEUROID), betas.data)})
    assembly = ds.assign_coords(xr.Coordinates(coords, indexes={}))["betas"]
    assembly.attrs = attrs | {k: v for k, v in betas.attrs.items() if k in OF_ARRAY}
    return assembly


def from_assembly(assembly: xr.DataArray) -> xr.Dataset:
    """Return an assembly that `to_assembly` made as a Dataset again, its labels indexed.

    Parameters
    ----------
    assembly
        As `to_assembly` returns it, as a file has it, or with Brain-Score's MultiIndexes.

    Returns
    -------
    xr.Dataset
        `betas` (trial, voxel); (stimulus, voxel) where there is no coordinate `trial`. It does not know a folder that
        the data were in: give `root=` to what needs images or surfaces.

    Raises
    ------
    SelectionError
        No array, other dims, or an array without stimulus or voxel ids.

    Examples
    --------
    >>> from_assembly(xr.open_dataarray("assembly.nc"))  # doctest: +SKIP
    """
    _check_array(assembly)
    if set(assembly.dims) != {PRESENTATION, NEUROID}:
        raise SelectionError(f"Expected an assembly with the dims presentation and neuroid, found {assembly.dims}.")
    # of a MultiIndex the levels stay, and what bound them goes
    indexed = [name for name in (PRESENTATION, NEUROID) if name in assembly.xindexes]
    array = assembly.reset_index(indexed) if indexed else assembly
    array = array.transpose(PRESENTATION, NEUROID)
    for name in (BRAIN_SCORE[STIMULUS], VOXEL):
        if name not in array.coords:
            raise SelectionError(
                f"Expected the coordinate {name!r}, as to_assembly sets it; here are {describe_names(array.coords)}."
            )
    row = TRIAL if TRIAL in array.coords else STIMULUS
    attrs = plain({name: value for name, value in array.attrs.items() if name not in OF_ARRAY}, "the assembly")
    coords: dict[str, Any] = {}
    for key, c in array.coords.items():
        name = str(key)
        if name == NEUROID_ID or (name == SUBJECT and "subjects" not in attrs and len(np.unique(c.values)) < 2):
            continue  # made by to_assembly
        dims = tuple({PRESENTATION: row, NEUROID: VOXEL}[str(dim)] for dim in c.dims)
        coords[OURS.get(name, name)] = (dims, c.values, c.attrs)
    of_array = {name: value for name, value in array.attrs.items() if name in OF_ARRAY}
    ds = xr.Dataset({"betas": lazy_variable((row, VOXEL), array.data, of_array)}, attrs=attrs)
    return labelled(ds, coords)


def _check_array(assembly: Any) -> None:
    if isinstance(assembly, xr.Dataset):
        raise SelectionError(
            "Expected an assembly, an array as to_assembly returns it, found a Dataset: give one of its variables, "
            f"{describe_names(assembly.data_vars)}."
        )
    if not isinstance(assembly, xr.DataArray):
        raise SelectionError(
            f"Expected an assembly, an array as to_assembly returns it, found {type(assembly).__name__}."
        )


def labelled(ds: xr.Dataset, coords: dict[str, Any]) -> xr.Dataset:
    """Return a Dataset with coordinates `(dims, values, attrs)`, and with the indexes of one that was opened."""
    # text as it is where a Dataset was opened, not in the width that a file had
    given = {
        name: (dims, values.astype(object) if values.dtype.kind in "TU" else values, attrs)
        for name, (dims, values, attrs) in coords.items()
    }
    ds = ds.assign_coords(xr.Coordinates(given, indexes={}))
    # ids of voxels repeat where there are several subjects: those have no index of their own
    of_several = SUBJECT in ds.coords and ds[SUBJECT].dims == (VOXEL,)
    for dim in map(str, ds.dims):
        if dim in ds.coords and not (dim == VOXEL and of_several):
            ds = ds.set_xindex(dim)
    return index_labels(ds)
