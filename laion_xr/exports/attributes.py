"""What an export says of the data: attributes, also of an array that left its Dataset; no folder of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from laion_xr.analysis.volumes import PLACES
from laion_xr.errors import SelectionError
from laion_xr.schema import VOXEL
from laion_xr.stimuli.root import CACHE, ROOT

# Kept with coordinates, so that an array still knows them: coordinate -> names
OF_COORDINATES = {VOXEL: ("subject", "grid_shape", "affine"), "roi": ("roi_categories",)}


def attributes_of(obj: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    """Return the attributes of a Dataset or array, with the grid and the ROI categories that its coordinates keep."""
    found: dict[str, Any] = {}
    for coordinate, names in OF_COORDINATES.items():
        if coordinate in obj.coords:
            kept = obj.coords[coordinate].attrs
            found |= {name: kept[name] for name in names if name in kept}
    return found | without_local_root(obj.attrs)


def without_local_root(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes without the folder that the data were opened from: what is exported is handed to others.

    An address (`s3://...`) stays, as it is the same for them.
    """
    kept = {str(name): value for name, value in attrs.items()}
    if ROOT in kept and _is_local(str(kept[ROOT])):
        kept = {name: value for name, value in kept.items() if name not in (ROOT, CACHE)}
    if isinstance(kept.get(PLACES), str):
        places = json.loads(kept[PLACES])
        kept[PLACES] = json.dumps({name: without_local_root(place) for name, place in places.items()})
    return kept


def _is_local(root: str) -> bool:
    # of a chain such as zip://data::/home/me/a.zip the last is where it lies
    last = root.rpartition("::")[2]
    return "://" not in last or last.startswith(("file://", "local://"))


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
