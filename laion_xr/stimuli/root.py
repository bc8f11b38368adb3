"""What a Dataset remembers of its root: attributes of its coordinates `stimulus` and `voxel`, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laion_xr.access.cache import cache_mode, with_cache
from laion_xr.errors import SelectionError
from laion_xr.location import Location

# The address, and how its catalogue cache is used, where it is; text, so that files can hold it
ROOT, CACHE = "root", "root_cache"
_KEPT = "kept"


def root_attrs(location: Location) -> dict[str, str]:
    """Return the attributes of the coordinates `stimulus` and `voxel` that say where their files are."""
    mode = cache_mode(location)
    return {ROOT: location.url} | ({CACHE: mode if isinstance(mode, str) else _KEPT} if mode else {})


def remembered_location(attrs: Mapping[Any, Any], storage_options: Mapping[str, Any] | None = None) -> Location:
    """Return the place that attributes of `root_attrs` say, with its cache in front of it.

    Raises
    ------
    SelectionError
        They do not say a place.
    """
    if attrs.get(ROOT) is None:
        raise SelectionError(
            "Where the stimuli are is not known: expected the attribute 'root' on the coordinate 'stimulus', as "
            "open_dataset sets it, found none; say it, as in ds.laion.embeddings('CLIP', root=...)."
        )
    mode = attrs.get(CACHE, False)
    return with_cache(Location.of(str(attrs[ROOT]), storage_options), True if mode == _KEPT else mode)
