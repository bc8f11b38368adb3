"""What each voxel responds to, how strongly, and how noisily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laion_xr.simulate.catalogue import KINDS, FloatArray
from laion_xr.simulate.regions import REGIONS
from laion_xr.simulate.streams import stream

# category of ROIs -> kind of image that drives it
PREFERRED = dict(
    zip(("body", "character", "face", "laion", "motion", "object", "place", "retinotopy"), KINDS, strict=True)
)
# where ROIs overlap, those of the whole experiment and of retinotopy leave the localisers' their tuning
_SHARES = {"laion": 0.25, "retinotopy": 0.5}


class Tuning(NamedTuple):
    """The responses of a subject's brain voxels, in the order of their ids.

    weights (voxel, feature), mean, signal_sd, noise_sd, frac_ridge (voxel,): float32; percent signal change,
    but for the ridge fraction.
    """

    weights: FloatArray
    mean: FloatArray
    signal_sd: FloatArray
    noise_sd: FloatArray
    frac_ridge: FloatArray


def roi_direction(seed: int, roi: str, n_features: int) -> npt.NDArray[np.float64]:
    """Return the unit vector in feature space that an ROI is tuned to: its category's kind, and a part of its own."""
    own = stream(seed, "roi", roi).standard_normal(n_features)
    own /= np.linalg.norm(own)
    direction = 0.6 * own
    direction[KINDS.index(PREFERRED[REGIONS[roi].category])] += 1
    return direction / np.linalg.norm(direction)


def make_tuning(
    seed: int,
    subject: str,
    members: Mapping[str, npt.NDArray[np.intp]],
    depth: npt.NDArray[np.float64],
    inner: float,
    n_features: int,
) -> Tuning:
    """Draw the tuning of a subject's voxels.

    Parameters
    ----------
    seed, subject
        Name the random stream.
    members
        ROI -> positions of its voxels on the voxel axis.
    depth
        Depth of each voxel in the brain, see `Brain`.
    inner
        Depth at which grey matter begins.
    n_features
        Number of features.
    """
    rng = stream(seed, subject, "tuning")
    n = len(depth)
    direction = rng.standard_normal((n, n_features))
    direction *= 0.3 / np.linalg.norm(direction, axis=1, keepdims=True)
    # noise ceiling SNR: much in ROIs, little in other grey matter, next to none below, none at all in some voxels
    ncsnr = np.where(depth >= inner, 0.15, 0.05) * np.abs(rng.standard_normal(n))
    ncsnr[rng.random(n) < 0.15] = 0
    spread = rng.uniform(0.7, 1.3, n)
    for roi, where in members.items():
        share = _SHARES.get(REGIONS[roi].category, 1.0)
        direction[where] += share * roi_direction(seed, roi, n_features)
        strength = stream(seed, subject, "strength", roi).uniform(0.5, 0.9)
        ncsnr[where] = np.maximum(ncsnr[where], strength * spread[where])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)

    # a ridge keeps more of what is reliable: reliable voxels are shrunk less, each by its own amount
    frac_ridge = np.clip(np.ceil(20 * ncsnr**2 / (ncsnr**2 + 0.2)) / 20, 0.05, 1.0)
    scale = np.exp(rng.normal(0, 0.3, n)) * (0.4 + 0.6 * frac_ridge)
    noise_sd = (1.3 * scale).astype(np.float32)
    signal_sd = (ncsnr * noise_sd).astype(np.float32)
    return Tuning(
        weights=(direction * signal_sd[:, None]).astype(np.float32),
        mean=(rng.normal(0.3, 0.4, n) * scale).astype(np.float32),
        signal_sd=signal_sd,
        noise_sd=noise_sd,
        frac_ridge=frac_ridge.astype(np.float32),
    )


def noise_ceiling(ncsnr: npt.NDArray[np.floating], mean_inverse_repeats: float) -> FloatArray:
    """Return the noise ceiling in percent: 100 ncsnr^2 / (ncsnr^2 + mean of 1 / repeats) (Allen et al. 2022).

    NaN where no image was repeated, which `mean_inverse_repeats` says by being NaN.
    """
    squared = np.square(ncsnr.astype(np.float64))
    return (100 * squared / (squared + mean_inverse_repeats)).astype(np.float32)
