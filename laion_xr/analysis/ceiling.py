"""How well a voxel can be predicted at all: noise ceilings and reliability, from the betas."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.analysis.blocks import voxel_coordinates
from laion_xr.analysis.standardize import zscore
from laion_xr.analysis.streaming import reduced, trial_betas, trial_labels
from laion_xr.errors import SelectionError
from laion_xr.lazy.variable import lazy_variable
from laion_xr.readers.reductions import NoiseVariance, Reliability
from laion_xr.schema import STIMULUS, VOXEL

# The published sets of images, by what their names begin with
SETS = {"12rep": ("shared_12rep",), "4rep": ("shared_4rep",), "all": ("",)}
METHODS = ("odd-even", "split-half")


def noise_ceiling(
    obj: xr.Dataset | xr.DataArray,
    images: str | Iterable[str] = "12rep",
    *,
    zscore_by: str | None = "session",
    ddof: int = 1,
) -> xr.DataArray:
    """Return the noise ceiling of each voxel, in percent, from the betas.

    The published definition (documentation of the dataset, after Allen et al. 2022, Nature Neuroscience 25): betas are
    z-scored; the noise variance is the mean over repeated images of the variance over repeats; the signal variance is
    `max(0, 1 - noise variance)`; `ncsnr = sqrt(signal / noise)`; and
    `NC = 100 ncsnr^2 / (ncsnr^2 + mean over images of 1 / n_repeats)`: the share of variance of the mean of an image's
    repeats that a perfect model explains.

    Parameters
    ----------
    obj
        A Dataset with `betas (trial, voxel)`, or the array; of one session for a ceiling within it.
    images
        `"12rep"`, `"4rep"`, `"all"`, or names of images: which repeated images count. Those with one trial in `obj`,
        NaN left out, do not.
    zscore_by
        Betas are z-scored by this first, over all trials of `obj`: `"session"` as the subject's maps, `"run"` as a
        session's map; None where they are z-scored already.
    ddof
        1 divides the variance over repeats by n - 1 (unbiased, the default: with few repeats dividing by n takes noise
        for signal), 0 by n.

    Returns
    -------
    `noise_ceiling (voxel)`, float32, 0 to 100 %, NaN where there are no repeats or no variance; with the coordinates of
    the voxels, lazy where the betas are.

    Raises
    ------
    SelectionError
        No betas, no image of the set is repeated here, or names that are not here.

    Examples
    --------
    >>> ds.laion.noise_ceiling("4rep").sel(roi="FFA1").mean()  # doctest: +SKIP
    """
    betas = trial_betas(obj, "noise_ceiling")
    if ddof not in (0, 1):
        raise SelectionError(f"ddof is 1 (divide by n - 1) or 0 (by n), found {ddof!r}.")
    groups, n_groups = _repeated(betas, images, "noise_ceiling")
    if zscore_by is not None:
        betas = zscore(betas, zscore_by)
    noise, inverse = reduced(betas, groups, n_groups, NoiseVariance(ddof))
    signal = np.maximum(1 - noise, 0)
    # NC of the ncsnr, without a division by a noise of 0
    ceiling = 100 * signal / (signal + noise * inverse)
    attrs = {
        "units": "%",
        "long_name": "noise ceiling",
        "images": images if isinstance(images, str) else f"{n_groups} images",
        "ddof": ddof,
    }
    return _on_voxels(betas, ceiling, attrs, "noise_ceiling")


def reliability(
    obj: xr.Dataset | xr.DataArray,
    images: str | Iterable[str] = "all",
    *,
    method: str = "odd-even",
    zscore_by: str | None = "session",
    spearman_brown: bool = False,
    seed: int = 0,
) -> xr.DataArray:
    """Return the reliability of each voxel: the correlation over images between the means of two halves of repeats.

    Parameters
    ----------
    obj, images, zscore_by
        As `noise_ceiling`.
    method
        `"odd-even"`: every other trial of an image, in the order of the trials; `"split-half"`: half of an image's
        trials at random (with an odd number, one more in a half chosen at random).
    spearman_brown
        Predict the reliability of the mean of both halves: 2 r / (1 + r).
    seed
        Of the random halves.

    Returns
    -------
    `reliability (voxel)`, float32, -1 to 1, NaN where there are no two images with both halves; lazy where the betas
    are.

    Raises
    ------
    SelectionError
        As `noise_ceiling`; or an unknown method.

    Examples
    --------
    >>> ds.laion.reliability(method="split-half", spearman_brown=True)  # doctest: +SKIP
    """
    betas = trial_betas(obj, "reliability")
    if method not in METHODS:
        raise SelectionError(f"method is one of {', '.join(METHODS)}, found {method!r}.")
    groups, n_groups = _repeated(betas, images, "reliability")
    order = pd.Series(groups).groupby(groups).cumcount().to_numpy(copy=True)
    if method == "split-half":
        # the rank of each trial among those of its image, in a random order
        shuffled = np.random.default_rng(seed).permutation(len(groups))
        order[shuffled] = pd.Series(groups[shuffled]).groupby(groups[shuffled]).cumcount().to_numpy()
        order += np.random.default_rng([seed, 1]).integers(0, 2, n_groups)[groups]
    halves = np.where(groups >= 0, 2 * groups + order % 2, -1)
    if zscore_by is not None:
        betas = zscore(betas, zscore_by)
    r = reduced(betas, halves, 2 * n_groups, Reliability())[0]
    if spearman_brown:
        r = 2 * r / (1 + r)
    attrs = {"units": "1", "long_name": f"{method} reliability", "spearman_brown": int(spearman_brown)}
    return _on_voxels(betas, r, attrs, "reliability")


def _repeated(betas: xr.DataArray, images: str | Iterable[str], purpose: str) -> tuple[npt.NDArray[np.int64], int]:
    """Return the number of each trial's image among those of the set that are repeated, -1 for others, and how many."""
    labels = pd.Series(trial_labels(betas, STIMULUS, purpose), dtype=object)
    if isinstance(images, str):
        if images not in SETS:
            raise SelectionError(f"images is one of {', '.join(SETS)}, or a list of image names; found {images!r}.")
        chosen = labels.str.startswith(SETS[images]) & (labels != "")
    else:
        wanted = list(images)
        unknown = [name for name in wanted if name not in set(labels)]
        if unknown:
            raise SelectionError(
                f"{len(unknown)} of {len(wanted)} images have no trial here, {unknown[0]!r} first: expected names in "
                "the coordinate 'stimulus'."
            )
        chosen = labels.isin(wanted)
    repeated = chosen & (labels.groupby(labels).transform("size") > 1)
    if not repeated.any():
        raise SelectionError(
            f"{purpose} needs repeated images: none of {images if isinstance(images, str) else 'these images'} has two "
            "trials here; take more sessions, or another set of images."
        )
    codes = np.full(len(labels), -1, dtype=np.int64)
    codes[repeated.to_numpy()] = pd.factorize(labels[repeated])[0]
    return codes, int(codes.max()) + 1


def _on_voxels(betas: xr.DataArray, values: object, attrs: dict[str, object], name: str) -> xr.DataArray:
    rest = xr.Dataset(coords=voxel_coordinates(betas))
    label = name if name not in rest.coords else f"{name}_here"
    found = rest.assign({label: lazy_variable(VOXEL, values, attrs)})[label]
    return found.rename(name)
