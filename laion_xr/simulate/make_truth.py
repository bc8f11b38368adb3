"""Makes what is known of a simulated dataset from its settings: no file is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout
from laion_xr.simulate.brain import Brain, FloatArray, IntArray, make_brain
from laion_xr.simulate.catalogue import KINDS, Pools, features_of, kind_means, kind_of, metadata_table
from laion_xr.simulate.images import StimulusTruth
from laion_xr.simulate.regions import REGIONS, empty_regions, region_voxels
from laion_xr.simulate.settings import Settings
from laion_xr.simulate.streams import stream
from laion_xr.simulate.trials import session_table
from laion_xr.simulate.truth import SubjectTruth, Truth
from laion_xr.simulate.tuning import make_tuning, noise_ceiling, roi_direction

# half axes of the MNI305 brain in mm, and its centre: where talairach.xfm takes the simulated one
_MNI_AXES = np.array([70.0, 88.0, 62.0])
_MNI_CENTRE = np.array([0.0, -19.0, 9.0])
REPEAT_SETS = {"12rep": ("shared_12rep_",), "4rep": ("shared_4rep_",), "Allrep": ("",)}


def make_truth(root: Path, settings: Settings) -> Truth:
    """Return everything that is known of the dataset that these settings describe."""
    pools = Pools(settings)
    tables = {
        subject: {session: session_table(settings, pools, subject, session) for session in settings.sessions}
        for subject in settings.subjects
    }
    shown = [name for of in tables.values() for table in of.values() for name in table["label"]]
    metadata = metadata_table(shown, settings)
    names = tuple(metadata["image_name"])
    stimuli = StimulusTruth(
        seed=settings.seed,
        names=names,
        metadata=metadata,
        features=features_of(settings.seed, names, settings.n_features),
        kinds=np.array([kind_of(settings.seed, name) for name in names]),
        embedding_dims=dict(settings.embedding_dims),
    )
    subjects = {subject: _make_subject(settings, subject, tables[subject]) for subject in settings.subjects}
    return Truth(root, settings.seed, settings.grid, subjects, stimuli)


def _make_subject(settings: Settings, subject: str, trials: Mapping[str, pd.DataFrame]) -> SubjectTruth:
    seed, n_features = settings.seed, settings.n_features
    brain = make_brain(seed, subject, settings.grid, settings.brain_fraction)
    near, depth, directions, hemisphere = _near_brain(brain)
    empty = empty_regions(seed, subject)
    rois = {
        name: near[:0] if name in empty else region_voxels(region, brain, near, depth, directions, hemisphere)
        for name, region in REGIONS.items()
    }
    voxels, depth = near[depth <= 1], depth[depth <= 1]
    mask = np.zeros(settings.grid, np.bool_)
    mask.ravel()[voxels] = True

    members = {name: np.flatnonzero(np.isin(voxels, ids)) for name, ids in rois.items()}
    tuning = make_tuning(seed, subject, members, depth, brain.inner, n_features)
    rng = stream(seed, subject, "missing")
    n = len(voxels)
    nan_voxels = np.sort(rng.choice(voxels, max(1, round(0.004 * n)), replace=False))
    quiet = voxels[(tuning.signal_sd == 0) & ~np.isin(voxels, nan_voxels)]
    silent = np.sort(rng.choice(quiet, min(len(quiet), max(1, round(0.01 * n))), replace=False))
    modelled = voxels[~np.isin(voxels, nan_voxels)]
    missing = {session: _missing(seed, subject, session, modelled, len(table)) for session, table in trials.items()}
    ncsnr = np.divide(tuning.signal_sd, tuning.noise_sd, dtype=np.float32)

    kinds = kind_means(n_features).astype(np.float64)
    c_ras = np.round(brain.to_mm((np.array(settings.grid)[None] - 1) / 2)[0], 1)
    mni305 = _mni305(seed, subject, brain)
    return SubjectTruth(
        name=subject,
        seed=seed,
        mask=mask,
        affine=brain.affine,
        voxels=voxels,
        weights=tuning.weights,
        mean=tuning.mean,
        signal_sd=tuning.signal_sd,
        noise_sd=tuning.noise_sd,
        ncsnr=ncsnr,
        frac_ridge=tuning.frac_ridge,
        noise_ceiling=_ceilings(trials, ncsnr, np.isin(voxels, nan_voxels), missing, voxels),
        rois=rois,
        categories={
            category: tuple(roi for roi, region in REGIONS.items() if region.category == category)
            for category in layout.ROI_CATEGORIES
        },
        roi_directions={roi: roi_direction(seed, roi, n_features) for roi in REGIONS},
        preferred={
            roi: KINDS[int(np.argmax(kinds @ tuning.weights[where].mean(axis=0)))]
            for roi, where in members.items()
            if len(where)
        },
        nan_voxels=nan_voxels,
        silent_voxels=silent,
        nan_session_voxels={session: whole for session, (whole, _) in missing.items()},
        nan_entries={session: entries for session, (_, entries) in missing.items()},
        trials=trials,
        gains={s: float(np.exp(stream(seed, subject, s, "gain").normal(0, 0.15))) for s in trials},
        offsets={s: _offset(seed, subject, s, tuning.noise_sd) for s in trials},
        brain=brain,
        c_ras=c_ras,
        mni305=mni305,
    )


def _near_brain(brain: Brain) -> tuple[IntArray, FloatArray, FloatArray, IntArray]:
    """Return ids, depth, direction and hemisphere of the voxels in and around the brain, a few planes at a time."""
    found = []
    plane = brain.grid[1] * brain.grid[2]
    for start in range(0, brain.grid[0], 8):
        depth, directions, hemisphere = brain.locate(brain.slab_points(start, min(start + 8, brain.grid[0])))
        near = np.flatnonzero(depth <= 1.35)
        found.append((near + start * plane, depth[near], directions[near], hemisphere[near].astype(np.int64)))
    ids, depths, along, sides = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return ids, depths, along, sides


def _missing(seed: int, subject: str, session: str, modelled: IntArray, n_trials: int) -> tuple[IntArray, IntArray]:
    """Return the voxels that a session lacks, and single (trial, voxel) entries that it lacks."""
    rng = stream(seed, subject, session, "missing")
    whole = np.sort(rng.choice(modelled, max(1, round(0.001 * len(modelled))), replace=False))
    rest = modelled[~np.isin(modelled, whole)]
    n = 3 + n_trials // 100
    return whole, np.stack([rng.integers(0, n_trials, n), rng.choice(rest, n)], axis=1).astype(np.int64)


def _offset(seed: int, subject: str, session: str, noise_sd: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    shift = stream(seed, subject, session, "offset").standard_normal(len(noise_sd), np.float32)
    return np.float32(0.4) * shift * noise_sd


def _ceilings(
    trials: Mapping[str, pd.DataFrame],
    ncsnr: npt.NDArray[np.float32],
    unmodelled: npt.NDArray[np.bool_],
    missing: Mapping[str, tuple[IntArray, IntArray]],
    voxels: IntArray,
) -> dict[str, npt.NDArray[np.float32]]:
    counts = Counter(label for table in trials.values() for label in table["label"])
    out = {}
    for name, prefixes in REPEAT_SETS.items():
        out[name] = noise_ceiling(ncsnr, _mean_inverse([n for k, n in counts.items() if k.startswith(prefixes)]))
        out[name][unmodelled] = np.nan
    for session, table in trials.items():
        out[session] = noise_ceiling(ncsnr, _mean_inverse(list(Counter(table["label"]).values())))
        out[session][unmodelled | np.isin(voxels, missing[session][0])] = np.nan
    return out


def _mean_inverse(repeats: list[int]) -> float:
    """Return the mean over the repeated images of 1 / repeats; NaN where none was repeated."""
    inverse = [1 / n for n in repeats if n > 1]
    return float(np.mean(inverse)) if inverse else float("nan")


def _mni305(seed: int, subject: str, brain: Brain) -> FloatArray:
    """Return the affine that lays the brain onto the size and place of the MNI305 one, with a tilt of its own."""
    extent = np.array([np.ptp(brain.centres[:, 0]) / 2 + brain.axes[0], brain.axes[1], brain.axes[2]])
    scale = _MNI_AXES / (extent * np.linalg.norm(brain.affine[:3, :3], axis=0))
    angle = np.deg2rad(stream(seed, subject, "mni305").uniform(-4, 4))
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    out = np.eye(4)
    out[:3, :3] = turn @ np.diag(scale)
    out[:3, 3] = _MNI_CENTRE - out[:3, :3] @ brain.to_mm(brain.centres.mean(axis=0)[None])[0]
    # text files hold six decimals: what is known is what a reader gets
    return np.round(out, 6)
