"""A volume as a NIfTI image: the type that holds its values and what is outside them; and its file."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from laion_xr.errors import FileAccessError, SelectionError
from laion_xr.readers.base import IntArray
from laion_xr.voxels import Grid, to_volume

# Whole numbers up to these are exact in a type
_EXACT: dict[np.dtype[Any], int] = {np.dtype(np.float32): 2**24, np.dtype(np.float64): 2**53}
_ENDINGS = (".nii.gz", ".nii")
# of a name in that of the hidden file beside it: file systems take 255 bytes
_NAME_IN_PARTIAL = 40


def volume_image(
    values: npt.NDArray[np.generic],
    voxels: IntArray,
    grid: Grid,
    affine: npt.NDArray[np.float64],
    fill: float = np.nan,
) -> nib.Nifti1Image:
    """Return values `(..., voxel)` as an image `(i, j, k, ...)`, `fill` elsewhere (0 for NaN where they are booleans).

    Fractions become float32, rounded; float64 where float32 would make one infinite or 0. Whole numbers keep their
    type (64-bit ones become int32) where it holds them and `fill`, else they are float32, or float64 where
    float32 is not exact.

    Raises
    ------
    SelectionError
        `fill` is no number; whole numbers beyond 2**53, which no type holds that programs read.
    """
    outside = checked_fill(fill)
    if values.dtype.kind == "b":
        values, outside = values.astype(np.uint8), 0 if np.isnan(outside) else outside
    dtype = _fraction_type(values, outside) if values.dtype.kind == "f" else _whole_type(values, outside)
    volume = to_volume(values.astype(dtype, copy=False), voxels, grid, dtype.type(outside))
    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    return image


def checked_fill(fill: Any) -> int | float:
    """Return a number of Python; NumPy's are taken.

    Raises
    ------
    SelectionError
        It is no real number.
    """
    try:
        found = np.asarray(fill)
    except ValueError:  # rows of different lengths
        found = np.empty(1)
    if found.ndim or found.dtype.kind not in "biuf":
        raise SelectionError(f"fill is a number, or NaN for no value; found {fill!r}.")
    return float(found) if found.dtype.kind == "f" else int(found)


def _fraction_type(values: npt.NDArray[np.generic], fill: float) -> np.dtype[Any]:
    for dtype in _EXACT:
        smaller = values.dtype.itemsize <= dtype.itemsize
        if (smaller or _in_range(values, dtype)) and _in_range(np.asarray(fill, np.float64), dtype, zero=True):
            return dtype
    raise SelectionError(f"Expected values that 64 bits hold, found {values.dtype} beyond them: scale them.")


def _in_range(values: npt.NDArray[Any], dtype: np.dtype[Any], zero: bool = False) -> bool:
    """Return whether no number becomes infinite, or, but for `zero`, 0."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(dtype)
    lost = np.isinf(rounded) & np.isfinite(values)
    return not (lost if zero else lost | ((rounded == 0) & (values != 0))).any()


def _whole_type(values: npt.NDArray[Any], fill: float) -> np.dtype[Any]:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    own = values.dtype.newbyteorder("=") if values.dtype.itemsize < 8 else np.dtype(np.int32)
    numbers = [low, high]
    whole = isinstance(fill, int) or fill.is_integer()
    limits = np.iinfo(own)
    if whole and limits.min <= min(*numbers, int(fill)) and max(*numbers, int(fill)) <= limits.max:
        return own
    for dtype, limit in _EXACT.items():
        outside = np.asarray(fill, np.float64)
        held = float(outside.astype(dtype)) == fill if isinstance(fill, int) else _in_range(outside, dtype, zero=True)
        if held and -limit <= low and high <= limit:
            return dtype
    raise SelectionError(
        f"Whole numbers in an image go up to 2**53, found {max(high, -low, key=abs)}: give them as fractions if they "
        "may be rounded."
    )


def checked_path(path: Any) -> Path:
    """Return the path of a NIfTI file that may be written.

    Raises
    ------
    SelectionError
        It is no path of this machine, has another ending, or is a folder.
    """
    found = local_path(path, "path", "file")
    if not found.name.endswith(_ENDINGS):
        raise SelectionError(f"A NIfTI file ends in .nii.gz or .nii, found {found.name!r}.")
    if found.is_dir():
        raise SelectionError(f"Expected a name for a file at {found}, found a folder: give another name.")
    return found


def local_path(path: Any, argument: str, noun: str) -> Path:
    """Return the path of a file or folder of this machine, whichever `noun` says.

    Raises
    ------
    SelectionError
        It is no path, or an address.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise SelectionError(f"{argument} is text or a path, found {type(path).__name__}.")
    if "://" in os.fspath(path):
        raise SelectionError(f"Expected a {noun} of this machine, found {os.fspath(path)!r}: write it, then upload it.")
    return Path(path)


def made_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing.

    Raises
    ------
    FileAccessError
        It may not be written.
    SelectionError
        A file is in its place, or in that of one above it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SelectionError(f"Expected a folder at {folder}, found a file: give another place.") from None
    except OSError as error:
        raise _not_writable(folder, error) from error


def save_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write an image beside its place, and move it there when it is complete.

    Raises
    ------
    FileAccessError
        The folder may not be written.
    """
    ending = next(ending for ending in _ENDINGS if path.name.endswith(ending))
    # not tempfile: its files are for their owner only, and the permissions would stay
    partial = path.with_name(f".{path.name[:_NAME_IN_PARTIAL]}.{uuid.uuid4().hex}{ending}")
    try:
        nib.save(image, partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _not_writable(path.parent, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _not_writable(folder: Path, error: OSError) -> OSError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FileAccessError(f"{folder} may not be written: give another folder.")
    return error
