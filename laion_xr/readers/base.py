"""What every reader of betas satisfies, and the arithmetic of picks that they share.

A reader is one session (or one map: a session of a single row) seen as a matrix
`(trial, grid voxel)`. Voxels are named by their C-order flat index in the 3-D grid, whatever order the
file keeps them in, so that no reader knows about masks. numpy only; nothing of xarray or dask.
"""

from __future__ import annotations

import hashlib
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from laion_xr.errors import FileFormatError

IntArray = npt.NDArray[np.integer]
AnyArray = npt.NDArray[np.generic]


@runtime_checkable
class Reader(Protocol):
    """A lazy matrix `(trial, grid voxel)`: picklable, hashable by content, no open handle kept."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of trials, number of voxels of the grid."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of what `read` returns."""

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change (path, size, time, ...)."""

    def read(
        self, trials: IntArray | slice, voxels: IntArray, out: npt.NDArray[np.generic] | None = None
    ) -> npt.NDArray[np.generic]:
        """Return the picked trials of the picked voxels, `(len(trials), len(voxels))`.

        `trials` are positions in the file (a slice, or integers in any order, repeats allowed); `voxels` are
        C-order flat grid indices in any order, repeats allowed. An empty pick touches no file. `out` is filled and
        returned where it is given: of the result's shape and type, so that a session needs no array of its own.
        """


def blocks_of(reader: Reader, voxels: IntArray) -> list[IntArray]:
    """Return positions in `voxels` in blocks that cost least to read apart; one where a part costs the whole."""
    blocks = getattr(reader, "blocks", None)
    found: list[IntArray] = [np.arange(len(voxels))] if blocks is None else blocks(voxels)
    return found


def trial_positions(trials: IntArray | slice, size: int) -> IntArray:
    """Return the positions that a pick of trials names, as a 1-D integer array."""
    if isinstance(trials, slice):
        return np.arange(*trials.indices(size))
    return np.atleast_1d(np.asarray(trials, dtype=np.intp))


def result_array(
    shape: tuple[int, int], dtype: np.dtype[np.generic], out: npt.NDArray[np.generic] | None
) -> npt.NDArray[np.generic]:
    """Return the array that a read fills: `out` where it is given, else a new one.

    Raises
    ------
    ValueError
        `out` is of another shape or type.
    """
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"expected out of shape {shape} and type {dtype}, found {out.shape}, {out.dtype}")
    return out


def sorted_pick(pick: IntArray) -> tuple[IntArray, IntArray | None]:
    """Split a pick into what a forward pass needs and what to do after.

    Returns the distinct values in increasing order, and the positions in them that restore the pick
    (`distinct[restore] == pick`), or None where the pick is strictly increasing already.
    """
    pick = np.asarray(pick)
    if len(pick) < 2 or bool((pick[1:] > pick[:-1]).all()):
        return pick, None
    distinct, restore = np.unique(pick, return_inverse=True)
    return distinct, restore.ravel()


def checked_pick(pick: IntArray, size: int, what: str) -> IntArray:
    """Return a pick as a 1-D integer array.

    Raises
    ------
    IndexError
        A position is negative, or `size` or more.
    """
    picked = np.atleast_1d(np.asarray(pick))
    if not picked.size:
        return picked.astype(np.intp)
    if picked.dtype.kind not in "iu" or picked.ndim != 1:
        raise IndexError(f"expected integer positions along {what}, found {picked.dtype} of shape {picked.shape}")
    low, high = int(picked.min()), int(picked.max())
    if low < 0 or high >= size:
        raise IndexError(f"{what} {low if low < 0 else high} is outside 0 to {size - 1}")
    return picked.astype(np.intp, copy=False)


def as_dtype(values: AnyArray, dtype: np.dtype[np.generic], name: str) -> AnyArray:
    """Return values of another type; from real numbers to integers they are rounded, and what is not finite is -1.

    Raises
    ------
    FileFormatError
        A value does not fit the integer type.
    """
    if values.dtype == dtype:
        return values
    if dtype.kind not in "iu":
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(dtype)
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), np.rint(values), -1)
    limits = np.iinfo(dtype.str)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if low < limits.min or high > limits.max:
        raise FileFormatError(f"{name}: expected values that fit {dtype}, found {low} to {high}.")
    return values.astype(dtype)


def array_digest(*arrays: npt.NDArray[np.generic]) -> str:
    """Return a hash of the bytes of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str((array.dtype.str, array.shape)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
