"""What the methods of the drop-in layer are given, checked in one place: sessions, masks, thresholds, stimuli."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from reprlib import repr as short
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_xr import layout
from laion_xr.compat.errors import ArgumentTypeError
from laion_xr.errors import SelectionError

Session = str | int
Sessions = Session | Iterable[Session]


def listed(value: Any) -> list[Any] | None:
    """Return the items of a list, a tuple, an array, a Series, a set (in order) or a generator; None for one value.

    Text and mappings are one value, and so are arrays of any but one dimension.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
        return None
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda item: layout.natural_order(str(item)))
    return list(np.asarray(value).tolist()) if hasattr(value, "__array__") else list(value)


def named(value: Any, name_of: Callable[[Any], str]) -> tuple[dict[Any, str], bool]:
    """Return what was given -> its name, in order, and whether it is one and no list; raises as `name_of`."""
    items = listed(value)
    if items is None:
        name = name_of(value)
        return {name: name}, True
    return {item: name_of(item) for item in items}, False


def one_session(session: Any) -> str:
    """Return the name of a session: `"ses-01"` for `"ses-01"`, `"01"`, `"1"` or `1`. Every method names them here.

    Raises
    ------
    SelectionError
        None, or an empty text (a `ValueError`).
    ArgumentTypeError
        Something else that names no session, such as a list where one is expected.
    """
    given = session.item() if isinstance(session, (np.ndarray, np.generic)) and session.ndim == 0 else session
    if given is None or (isinstance(given, str) and given in ("", "ses-")):
        raise SelectionError(
            f"session is required: betas and trials lie session by session; give one, such as 'ses-01': found "
            f"{given!r}."
        )
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise ArgumentTypeError(
            f"Expected one session, such as 'ses-01', '01' or 1: found {short(given)}, a {type(given).__name__}."
        )
    return layout.session_name(given)


def one_desc(desc: Any) -> str:
    """Return the `desc` of a map; raises `ArgumentTypeError` for anything but text."""
    if not isinstance(desc, str):
        raise ArgumentTypeError(f"desc is a name such as 'Noiseceiling12rep', or a list: found {short(desc)}.")
    return str(desc)


def voxel_mask(mask: Any, n_voxels: int, mask_source: str) -> npt.NDArray[np.bool_]:
    """Return a mask of the voxel axis, `(voxel,)` bool, given as booleans or as the numbers 0 and 1.

    Raises
    ------
    SelectionError
        Another length; or values that are neither, such as NaN or the indexes of voxels.
    """
    try:
        given = np.asarray(mask)
    except ValueError:  # lists of several lengths
        given = np.empty(0, dtype=object)
    if given.shape != (n_voxels,):
        raise SelectionError(
            f"mask has one value for each of the {n_voxels} voxels of the brain mask (mask_source={mask_source!r}): "
            f"found shape {given.shape}."
        )
    if given.dtype.kind in "iuf":
        wrong = given[(given != 0) & (given != 1)]
    elif given.dtype.kind == "b":
        wrong = given[:0]
    else:
        wrong = np.array([value for value in given.tolist() if not isinstance(value, bool)], dtype=object)
    if wrong.size:
        raise SelectionError(
            f"mask is True or False (or 1 or 0) for each of the {n_voxels} voxels of the brain mask: found "
            f"{short(wrong.tolist()[0])}; of indexes np.isin(np.arange({n_voxels}), indexes) makes a mask."
        )
    return given.astype(bool)


def ceiling_threshold(threshold: Any) -> Any:
    """Return a threshold in percent as it is given, or None.

    Raises
    ------
    ArgumentTypeError
        Not one number.
    SelectionError
        NaN: nothing is at least that.
    """
    given = threshold[()] if isinstance(threshold, np.ndarray) and threshold.ndim == 0 else threshold
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"nc_threshold is one number, in percent: found {short(given)}.")
    if math.isnan(given):
        raise SelectionError("nc_threshold is a number of percent, found NaN.")
    return given


def stimulus_kind(stimuli: Any) -> str | None:
    """Return `"shared"`, `"unique"` or None; raises `SelectionError` for anything else."""
    if stimuli is None or (isinstance(stimuli, str) and stimuli in ("shared", "unique")):
        return stimuli
    raise SelectionError(f"stimuli must be 'shared', 'unique' or None, found {short(stimuli)}.")
