"""The 3-D maps of a session and of a subject, on the voxel axis, and what their sidecars say. numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from laion_xr.simulate.streams import stream
from laion_xr.simulate.truth import SubjectTruth

Values = npt.NDArray[np.generic]

SESSION_DESCRIPTIONS = {
    "betas": "GLMsingle TYPED single-trial betas, percent signal change; NaN = not modelled; one volume a trial.",
    "noise_ceiling": "Noise ceiling within the session, percent (Allen et al. 2022).",
    "r2": "Variance explained by the model, percent.",
    "hrf_index": "Chosen HRF of the library of 20, 0 to 19.",
    "frac_ridge": "Ridge fraction chosen by cross-validation.",
}
SUBJECT_DESCRIPTIONS = {
    "r2_mean": "Variance explained by the model, percent, mean over sessions.",
    "noise_ceiling_12rep": "Noise ceiling over sessions, percent, images shown 12 times (Allen et al. 2022).",
    "noise_ceiling_4rep": "Noise ceiling over sessions, percent, images shown 4 times (Allen et al. 2022).",
    "noise_ceiling_Allrep": "Noise ceiling over sessions, percent, all repeated images (Allen et al. 2022).",
}


def session_maps(subject: SubjectTruth, session: str) -> dict[str, Values]:
    """Return the maps of a session: noise_ceiling, r2, hrf_index, frac_ridge, each (voxel,)."""
    rng = stream(subject.seed, subject.name, session, "maps")
    n = len(subject.voxels)
    unmodelled = np.isin(subject.voxels, np.concatenate([subject.nan_voxels, subject.nan_session_voxels[session]]))
    explained = subject.ncsnr**2 / (1 + subject.ncsnr**2)
    r2 = (100 * np.clip(explained * rng.uniform(0.85, 1.1, n) + rng.uniform(0.001, 0.02, n), 0, 1)).astype(np.float32)
    r2[np.isin(subject.voxels, subject.silent_voxels)] = 0
    r2[unmodelled] = np.nan
    # the shape of the response is the voxel's own; its estimate wanders by a step from session to session
    shape = stream(subject.seed, subject.name, "hrf").integers(0, 20, n)
    hrf = np.clip(shape + rng.integers(-1, 2, n), 0, 19).astype(np.int16)
    step = rng.choice(np.array([-0.05, 0, 0, 0.05]), n)
    frac = np.clip(subject.frac_ridge + step, 0.05, 1).astype(np.float32)
    frac[unmodelled] = np.nan
    return {"noise_ceiling": subject.noise_ceiling[session], "r2": r2, "hrf_index": hrf, "frac_ridge": frac}


def subject_maps(subject: SubjectTruth) -> dict[str, Values]:
    """Return the maps of a subject: r2_mean and the three noise ceilings, each (voxel,)."""
    total = np.zeros(len(subject.voxels))
    count = np.zeros(len(subject.voxels))
    for session in subject.sessions:
        r2 = session_maps(subject, session)["r2"].astype(np.float64)
        total += np.nan_to_num(r2)
        count += np.isfinite(r2)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    ceilings = {f"noise_ceiling_{name}": subject.noise_ceiling[name] for name in ("12rep", "4rep", "Allrep")}
    return {"r2_mean": mean, **ceilings}
