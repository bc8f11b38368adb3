"""The arrays of a session's GLMsingle model file as a lazy Dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from laion_xr import layout, schema
from laion_xr.catalog import SubjectCatalog
from laion_xr.errors import DataNotDownloadedError
from laion_xr.lazy.variable import LazyVariable, lazy_variable
from laion_xr.masks import VoxelAxis, voxel_axis
from laion_xr.readers.hdf5 import BETAS, ArrayInfo, Hdf5ArraySource, list_arrays

# An array is read in blocks of whole HDF5 chunks, about this large
BLOCK_BYTES = 64 << 20


def model_dataset(catalog: SubjectCatalog, session: str) -> xr.Dataset:
    """Return every array of a session's model file, lazily, as the file has them.

    Dims: `trial` and the grid's `i`, `j`, `k` or `voxel` for axes that have their length in `betasmd` (X, Y, Z, T) or
    (N, T); `{array}_{axis}` for others. Groups of the file join the names by `_`.

    Raises
    ------
    DataNotDownloadedError
        The session has no model file.
    """
    files = catalog.session(session)
    if "model" not in files.files:
        path = catalog.location.show(layout.session_path(catalog.subject, files.session, "model"))
        raise DataNotDownloadedError(
            f"{catalog.subject} {files.session} has no GLMsingle model file: expected {path}; download it first."
        )
    entry = files.files["model"]
    arrays = list_arrays(catalog.location, entry)
    dims = _dims(arrays)
    variables = {
        _name(info): _variable(Hdf5ArraySource.of(catalog.location.uncached, entry, info), info, dims)
        for info in arrays
    }
    ds = xr.Dataset(variables)
    ds.attrs = {"subject": catalog.subject, "session": files.session}
    if schema.VOXEL in ds.sizes and (axis := _axis(catalog, ds.sizes[schema.VOXEL])) is not None:
        ds = ds.assign_coords(voxel=(schema.VOXEL, axis.ids, schema.attrs("voxel")))
        ds.attrs["mask_source"] = axis.mask_source
    return ds


def _name(info: ArrayInfo) -> str:
    return info.name.strip("/").replace("/", "_")


def _dims(arrays: Sequence[ArrayInfo]) -> dict[tuple[int, ...], tuple[str, ...]]:
    # leading shape -> names of those axes, and (T,) -> trial, as the betas have them
    betas = next((info for info in arrays if info.name == BETAS), None)
    if betas is None or len(betas.shape) not in (2, 4):
        return {}
    space = ("i", "j", "k") if len(betas.shape) == 4 else (schema.VOXEL,)
    found = {betas.shape: (*space, schema.TRIAL), betas.shape[:-1]: space}
    if betas.shape[-1:] not in found:
        found[betas.shape[-1:]] = (schema.TRIAL,)
    return found


def _variable(
    source: Hdf5ArraySource, info: ArrayInfo, dims: Mapping[tuple[int, ...], tuple[str, ...]]
) -> LazyVariable:
    names = dims.get(info.shape)
    if names is None:
        lead = next((known for known in sorted(dims, key=len, reverse=True) if known == info.shape[: len(known)]), ())
        names = (*dims.get(lead, ()), *(f"{_name(info)}_{axis}" for axis in range(len(lead), len(info.shape))))
    if not info.shape:
        return lazy_variable((), source.read())
    chunks = _chunks(info)
    array = da.map_blocks(
        _read_block,
        source=source,
        chunks=chunks,
        dtype=info.dtype,
        meta=np.empty((0,) * len(info.shape), dtype=info.dtype),
        name=f"{_name(info)}-{tokenize(source.token)}",
    )
    return lazy_variable(names, array)


def _chunks(info: ArrayInfo) -> tuple[tuple[int, ...], ...]:
    sizes = list(info.chunks or info.shape)
    item = max(info.dtype.itemsize, 1)
    for axis in reversed(range(len(sizes))):
        room = BLOCK_BYTES // max(math.prod(sizes) * item, 1)
        if room > 1:
            sizes[axis] = min(sizes[axis] * room, max(info.shape[axis], 1))
    return tuple(da.core.normalize_chunks((tuple(sizes)), shape=info.shape, dtype=info.dtype)) if info.shape else ()


def _read_block(
    source: Hdf5ArraySource, block_info: Mapping[object, Mapping[str, Sequence[tuple[int, int]]]]
) -> object:
    return source.read(tuple(slice(start, stop) for start, stop in block_info[None]["array-location"]))


def _axis(catalog: SubjectCatalog, size: int) -> VoxelAxis | None:
    # the rows are voxels of a mask only where exactly one mask has their number
    axes = []
    for mask_source, kind in (("anatomical", "brain_mask"), ("rsquare", "r2_mean")):
        if kind in catalog.maps:
            axis = voxel_axis(catalog, mask_source)
            if len(axis.ids) == size:
                axes.append(axis)
    return axes[0] if len(axes) == 1 else None
