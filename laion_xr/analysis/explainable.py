"""What a model can explain of a row of betas: the published ceiling, for another number of repeats."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from laion_xr.errors import SelectionError, did_you_mean
from laion_xr.schema import TRIAL, VOXEL


def explainable(
    obj: xr.Dataset | xr.DataArray,
    betas: xr.DataArray,
    row: str,
    noise_ceiling: Any,
    ceiling_repeats: float | None,
    repeats: Any,
) -> xr.DataArray | None:
    """Return the fraction of the variance of a row that can be explained, (voxel,); None where it is not known.

    A ceiling of images shown n times, NC = ncsnr^2 / (ncsnr^2 + 1/n) (Allen et al. 2022), gives ncsnr^2, and that the
    ceiling of rows that are means of m trials: ncsnr^2 / (ncsnr^2 + mean of 1/m). NaN where the ceiling is 0 (there is
    nothing to normalise by), below 0 or above 100 %.

    Raises
    ------
    SelectionError
        A ceiling that is not there or not on `voxel`, or repeats that are not positive.
    """
    if noise_ceiling is None:
        return None
    ceiling = noise_ceiling
    if isinstance(ceiling, str):
        if ceiling not in obj.coords and not (isinstance(obj, xr.Dataset) and ceiling in obj):
            if ceiling == "noise_ceiling":  # the default; without it there is nothing to normalise by
                return None
            raise SelectionError(did_you_mean("Noise ceiling", ceiling, [str(n) for n in obj.coords]))
        ceiling = obj[ceiling]
    if not isinstance(ceiling, xr.DataArray):
        ceiling = xr.DataArray(np.asarray(ceiling), dims=(VOXEL,) * np.ndim(ceiling))
    if ceiling.dims != (VOXEL,) or ceiling.sizes[VOXEL] != betas.sizes[VOXEL]:
        raise SelectionError(
            f"Expected a noise ceiling on the {betas.sizes[VOXEL]} voxels of the betas, in percent, found "
            f"{dict(ceiling.sizes)}."
        )
    made_for = ceiling_repeats if ceiling_repeats is not None else _repeats_of_map(ceiling)
    inverse = _mean_inverse(betas, row, repeats)
    if made_for is None or inverse is None:
        return None
    if not made_for > 0:
        raise SelectionError(f"Expected ceiling_repeats above 0, found {ceiling_repeats!r}.")
    fraction = ceiling.variable.astype(np.float64) / 100
    fraction = fraction.where((fraction > 0) & (fraction <= 1))
    # ncsnr^2 = NC / (1 - NC) / n, written so that NC = 1 does not divide by 0
    share = fraction / (fraction + (1 - fraction) * made_for * inverse)
    dtype = np.float64 if betas.dtype == np.float64 else np.float32
    return xr.DataArray(share.astype(dtype))


def _repeats_of_map(ceiling: xr.DataArray) -> float | None:
    name = str(ceiling.attrs.get("map", "")) or str(ceiling.name)
    match = re.search(r"(\d+)rep$", name)
    return float(match[1]) if match else None


def _mean_inverse(betas: xr.DataArray, row: str, repeats: Any) -> float | None:
    """Return the mean over rows of 1 / repeats; None where rows are means of nobody knows how many trials."""
    if repeats is None:
        if row == TRIAL:
            return 1.0
        if "n_reps" not in betas.coords:
            return None
        repeats = "n_reps"
    if isinstance(repeats, str):
        if repeats not in betas.coords:
            raise SelectionError(f"repeats: {did_you_mean('Coordinate', repeats, [str(n) for n in betas.coords])}")
        repeats = betas.coords[repeats]
    counts = np.asarray(repeats, dtype=np.float64)
    if counts.shape not in ((), (betas.sizes[row],)) or not (counts > 0).all():
        raise SelectionError(
            f"Expected repeats above 0, one number or one for each of {betas.sizes[row]} rows, found {repeats!r}."
        )
    return float(np.mean(1 / counts))
