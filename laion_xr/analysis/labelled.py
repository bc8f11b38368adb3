"""Values as callers give them: which labels they have, and numbers of what has none."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from nibabel.spatialimages import SpatialImage

from laion_xr.errors import SelectionError, describe_names
from laion_xr.schema import VOXEL

_LABELLED = (xr.DataArray, xr.Dataset, xr.Variable, pd.Series, pd.DataFrame)


def labelled(values: Any, known: npt.NDArray[np.int64] | None) -> Any:
    """Return values that have labels, or dims, as a DataArray, and all others as they are.

    Parameters
    ----------
    values
        Of a pandas Series or DataFrame the index, or the columns, called `voxel` are the ids of voxels; and one without
        a name where it holds all that are known.
    known
        Ids of the voxels that values without labels belong to, in any order; None where they are not known.

    Raises
    ------
    SelectionError
        Several arrays in one, an image, or a table whose voxels are not one index.
    """
    if isinstance(values, SpatialImage):
        raise SelectionError("Expected values on the voxel axis, found an image: take them out of it with .masker().")
    if isinstance(values, xr.Dataset):
        raise SelectionError(
            "Expected one array of values, found a Dataset: take one of its variables, "
            f"{describe_names(values.data_vars)}."
        )
    if isinstance(values, (list, tuple)) and any(isinstance(value, _LABELLED) for value in values):
        raise SelectionError(
            "Expected one array of values, found a list of labelled arrays: join them, as with xr.concat(list, 'map')."
        )
    if isinstance(values, xr.Variable):
        return xr.DataArray(values)
    return _of_table(values, known) if isinstance(values, (pd.Series, pd.DataFrame)) else values


def _of_table(table: pd.Series | pd.DataFrame, known: npt.NDArray[np.int64] | None) -> Any:
    axes = []
    for axis, index in enumerate(table.axes):
        if index.nlevels > 1 and VOXEL in index.names:
            raise SelectionError(
                f"Expected an index of voxels alone, found several levels {list(index.names)}: bring the voxels to the "
                "columns, as with .unstack('voxel')."
            )
        if index.name == VOXEL or (index.name is None and known is not None and _same_labels(index, known)):
            axes.append(axis)
    if len(axes) > 1:
        raise SelectionError("Expected voxels as the index or as the columns of the table, found both.")
    types = [table.dtype] if isinstance(table, pd.Series) else list(table.dtypes)
    of_pandas = any(pd.api.types.is_extension_array_dtype(dtype) for dtype in types)
    if of_pandas and all(pd.api.types.is_numeric_dtype(dtype) for dtype in types):
        array = table.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        array = table.to_numpy()
    if not axes:
        return array
    dims = [VOXEL if axis in axes else f"dim_{axis}" for axis in range(table.ndim)]
    return xr.DataArray(array, dims=dims, coords={VOXEL: np.asarray(table.axes[axes[0]])})


def _same_labels(index: Any, known: npt.NDArray[np.int64]) -> bool:
    if index.nlevels > 1 or len(index) != len(known) or np.asarray(index).dtype.kind not in "iu":
        return False
    return np.array_equal(np.sort(np.asarray(index)), np.sort(known))


def numbers(values: Any) -> Any:
    """Return what has no labels as an array of one dim or more; what a masked array hides is NaN.

    Raises
    ------
    SelectionError
        Rows of different lengths, or what is no array.
    """
    if isinstance(values, da.Array):
        return values
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "biuf":
        if not np.ma.getmaskarray(values).any():
            return values.data
        return np.ma.filled(values.astype(np.result_type(values.dtype, np.float32)), np.nan)
    try:
        array = np.atleast_1d(np.asarray(values))
    except ValueError:
        raise SelectionError("Expected numbers in one shape, found rows of different lengths.") from None
    if array.dtype.kind == "O" and not isinstance(values, (np.ndarray, list, tuple)):
        check_numbers(array.dtype, type(values).__name__)
    return array


def check_numbers(dtype: np.dtype[Any], found: object = None) -> None:
    """Check that a volume takes values of this type: real numbers.

    Raises
    ------
    SelectionError
        They are complex, or no numbers.
    """
    if dtype.kind == "c":
        raise SelectionError(f"Expected real numbers, found {dtype}: give its .real, its .imag or its abs().")
    if dtype.kind not in "biuf":
        raise SelectionError(f"Expected numbers, found {found or dtype}: nothing else has a place in a volume.")
