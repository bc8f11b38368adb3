"""What an export says of the data as a whole: attributes, also of an array that left its Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from laion_xr.errors import SelectionError
from laion_xr.schema import VOXEL

# Kept with coordinates, so that an array still knows them: coordinate -> names
OF_COORDINATES = {VOXEL: ("subject", "grid_shape", "affine"), "roi": ("roi_categories",)}


def attributes_of(obj: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    """Return the attributes of a Dataset or array, with the grid and the ROI categories that its coordinates keep."""
    found: dict[str, Any] = {}
    for coordinate, names in OF_COORDINATES.items():
        if coordinate in obj.coords:
            kept = obj.coords[coordinate].attrs
            found |= {name: kept[name] for name in names if name in kept}
    return found | {str(name): value for name, value in obj.attrs.items()}


def plain(attrs: Mapping[Any, Any], of: str) -> dict[str, Any]:
    """Return attributes as JSON takes them.

    Raises
    ------
    SelectionError
        One is neither text, number, boolean, nor a list of these.
    """
    return {str(name): _plain(value, f"{name!r} of {of}") for name, value in attrs.items()}


def _plain(value: Any, what: str) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, what) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item, what) for name, item in value.items()}
    raise SelectionError(
        f"Attributes are text, numbers or lists of them; the attribute {what} is a {type(value).__name__}: remove it, "
        "or make it text."
    )
