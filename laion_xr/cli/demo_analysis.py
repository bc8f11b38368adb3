"""The analysis of `laion-xr demo`: from an image's features to the responses, in closed form. NumPy and xarray only.

Train on the images that only this subject saw, test on those that all subjects saw, repeats averaged. Betas are
z-scored within each session first, as the dataset's authors advise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr.errors import SelectionError

Floats = npt.NDArray[np.float64]
ALPHAS = 10.0 ** np.arange(-1, 6)
# Voxels that lack more than this share of their trials are left out; single missing betas count as the session's mean
MISSING = 0.05


@dataclass(frozen=True, eq=False)
class Encoding:
    """What the demo finds.

    Attributes
    ----------
    accuracy
        Pearson r between predicted and measured responses over the test images, (voxel,); NaN where there is none.
    ceiling
        The highest r to expect, given the noise: square root of the noise ceiling, (voxel,).
    n_train, n_test
        Images to fit on, and to test on.
    """

    accuracy: xr.DataArray
    ceiling: xr.DataArray
    n_train: int
    n_test: int


def encode(ds: xr.Dataset, model: str = "CLIP") -> Encoding:
    """Predict the responses to shared images from their embeddings.

    Parameters
    ----------
    ds
        A subject, opened with `embeddings=[model]` and `noise_ceiling="Allrep"`: the ceiling of what is tested here,
        the mean over the repeats of every repeated image.

    Raises
    ------
    SelectionError
        Fewer than two images with an embedding to fit on, or to test on.
    """
    features = np.asarray(ds[f"embedding_{model}"].values, dtype=np.float64)
    betas = zscore_within(np.asarray(ds["betas"].values), ds["session"].values)
    usable = ~np.isnan(features).any(axis=1)  # an image without an embedding has NaN
    shared = ds["unique_or_shared"].values == "shared"
    names, image, repeats = np.unique(ds["stimulus"].values, return_inverse=True, return_counts=True)
    train = np.flatnonzero(usable & ~shared)
    test = np.flatnonzero(usable & shared & (repeats[image] > 1))
    n_train, tested = len(set(image[train])), np.unique(image[test])
    if n_train < 2 or len(tested) < 2:
        raise SelectionError(
            f"Expected images to fit on and to test on, found {n_train} unique and {len(tested)} repeated shared ones "
            f"of {len(names)} with an embedding of {model}: open more sessions."
        )
    measured = average(betas[test], image[test], tested)
    first = test[[int(np.flatnonzero(image[test] == i)[0]) for i in tested]]
    predicted = ridge(features[train], betas[train], features[first])
    attrs = {"long_name": "prediction accuracy over test images (Pearson r)"}
    one = ds["betas"].isel(trial=0, drop=True)
    accuracy = one.copy(data=correlation(predicted, measured).astype(np.float32)).rename("accuracy").assign_attrs(attrs)
    accuracy.attrs.pop("units", None)
    ceiling = np.sqrt(ds["noise_ceiling"].values / 100)
    return Encoding(accuracy, one.copy(data=ceiling).rename("ceiling"), n_train, len(tested))


def zscore_within(betas: npt.NDArray[np.float32], groups: npt.NDArray[np.object_]) -> Floats:
    """Return betas (trial, voxel) z-scored per voxel within each group of trials.

    A missing beta becomes 0, the mean; a voxel that lacks too many is NaN throughout.
    """
    out = np.empty(betas.shape, dtype=np.float64)
    lacking = np.isnan(betas).mean(axis=0) > MISSING
    for group in np.unique(groups):
        rows = groups == group
        block = np.ma.masked_invalid(betas[rows].astype(np.float64))
        deviation = np.ma.filled(block.std(axis=0), 0)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        out[rows] = np.ma.filled((block - block.mean(axis=0)) * scale, 0)
    out[:, lacking] = np.nan
    return out


def average(values: Floats, image: npt.NDArray[np.intp], wanted: npt.NDArray[np.intp]) -> Floats:
    """Return the mean over repeats, (image, voxel), of values (trial, voxel), in the order of `wanted`."""
    return np.stack([values[image == i].mean(axis=0) for i in wanted])


def ridge(features: Floats, targets: Floats, new: Floats) -> Floats:
    """Return the predictions of a ridge regression for new features, `(new, target)`.

    Features are standardised. Each target gets the penalty with the least generalised cross-validation error (Golub,
    Heath and Wahba 1979), which one singular value decomposition gives for all penalties and targets.

    Parameters
    ----------
    features
        (sample, feature).
    targets
        (sample, target); a target of NaN is predicted NaN.
    new
        (new, feature).
    """
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    u, s, vt = np.linalg.svd((features - centre) / spread, full_matrices=False)
    offset = targets.mean(axis=0)
    projected = u.T @ (targets - offset)
    total = np.square(targets - offset).sum(axis=0)
    errors = []
    for alpha in ALPHAS:
        shrink = s**2 / (s**2 + alpha)
        residual = total - (2 * shrink - shrink**2) @ np.square(projected)
        errors.append(residual / (1 - shrink.sum() / len(features)) ** 2)
    # NaN targets have no least error: argmin takes the first NaN, and their prediction is NaN anyway
    alpha = ALPHAS[np.argmin(errors, axis=0)]
    weights = vt.T @ (s[:, None] / (s[:, None] ** 2 + alpha) * projected)
    return np.asarray(offset + (new - centre) / spread @ weights, dtype=np.float64)


def correlation(a: Floats, b: Floats) -> Floats:
    """Return Pearson's r down the columns of two arrays (sample, column); NaN for a constant column."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt(np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
    known = scale > 0
    r = np.full(scale.shape, np.nan)
    np.divide((a * b).sum(axis=0), scale, out=r, where=known)
    return r
