"""What is known of a simulated dataset: everything that an analysis of its files can be checked against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout
from laion_xr.errors import SubjectNotFoundError, did_you_mean, unknown_label
from laion_xr.quantities import count_text
from laion_xr.simulate.brain import Brain
from laion_xr.simulate.catalogue import FloatArray
from laion_xr.simulate.images import StimulusTruth
from laion_xr.simulate.streams import stream
from laion_xr.simulate.tuning import noise_ceiling

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SubjectTruth:
    """One simulated subject. The voxel axis is the brain mask's: `voxels`, sorted C-order ids.

    Attributes
    ----------
    name : str
        `"sub-03"`.
    seed : int
        Seed of the simulation.
    mask : ndarray of bool, shape (X, Y, Z)
        The brain mask on the functional grid (`mask_source="anatomical"`).
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to millimetres of T1w space.
    voxels : ndarray of int64, shape (voxel,)
        C-order flat grid indices of the brain's voxels.
    weights : ndarray of float32, shape (voxel, feature)
        Response to the latent features, percent signal change.
    mean : ndarray of float32, shape (voxel,)
        Response to the average image, percent signal change.
    signal_sd, noise_sd : ndarray of float32, shape (voxel,)
        Standard deviation over images of the noise-free response, and over repeats of one image; percent
        signal change. Within-session gains scale both.
    ncsnr : ndarray of float32, shape (voxel,)
        `signal_sd / noise_sd`.
    frac_ridge : ndarray of float32, shape (voxel,)
        Ridge fraction; a voxel's shrinkage is part of its `signal_sd` and `noise_sd`.
    noise_ceiling : mapping
        `"12rep"`, `"4rep"`, `"Allrep"` or a session -> float32 (voxel,), percent, as in the maps: from `ncsnr`
        and the repeats in the trial tables. NaN in voxels that were not modelled, and where nothing was repeated.
    rois : mapping
        ROI -> sorted C-order ids of its voxels, those outside the brain mask included.
    categories : mapping
        Category -> names of its ROIs.
    roi_directions : mapping
        ROI -> float64 (feature,), the unit vector that it is tuned to.
    preferred : mapping
        ROI -> kind of image that drives it most on average; ROIs without brain voxels are left out.
    nan_voxels : ndarray of int64
        Ids of voxels that are NaN in every session.
    silent_voxels : ndarray of int64
        Ids of voxels with R2 = 0: in the anatomical mask, not in the rsquare mask.
    nan_session_voxels : mapping
        Session -> ids of voxels that are NaN in all trials of it (`nan_voxels` aside).
    nan_entries : mapping
        Session -> int64 (entry, 2): trial of the session and voxel id of single missing values.
    trials : mapping
        Session -> its trial table as written: session, run, beta_index, label.
    gains : mapping
        Session -> factor on all its responses.
    offsets : mapping
        Session -> float32 (voxel,), what is added to all its trials, percent signal change.
    brain : Brain
        The geometry: surfaces lie at its depths.
    c_ras : ndarray of float64, shape (3,)
        T1w position of the centre of the FreeSurfer volumes: surface coordinates plus this are T1w millimetres.
    mni305 : ndarray of float64, shape (4, 4)
        T1w millimetres to MNI305 millimetres, as in talairach.xfm and talairach.lta.
    """

    name: str
    seed: int
    mask: BoolArray
    affine: npt.NDArray[np.float64]
    voxels: IntArray
    weights: FloatArray
    mean: FloatArray
    signal_sd: FloatArray
    noise_sd: FloatArray
    ncsnr: FloatArray
    frac_ridge: FloatArray
    noise_ceiling: Mapping[str, FloatArray]
    rois: Mapping[str, IntArray]
    categories: Mapping[str, tuple[str, ...]]
    roi_directions: Mapping[str, npt.NDArray[np.float64]]
    preferred: Mapping[str, str]
    nan_voxels: IntArray
    silent_voxels: IntArray
    nan_session_voxels: Mapping[str, IntArray]
    nan_entries: Mapping[str, IntArray]
    trials: Mapping[str, pd.DataFrame]
    gains: Mapping[str, float]
    offsets: Mapping[str, FloatArray]
    brain: Brain
    c_ras: npt.NDArray[np.float64]
    mni305: npt.NDArray[np.float64]

    def __repr__(self) -> str:
        counts = (
            count_text(len(self.sessions), "session"),
            count_text(sum(map(len, self.trials.values())), "trial"),
            count_text(len(self.voxels), "voxel"),
            count_text(len(self.rois), "ROI"),
        )
        return f"<SubjectTruth {self.name}: {', '.join(counts)}, seed {self.seed}>"

    @property
    def sessions(self) -> tuple[str, ...]:
        """The sessions, in order."""
        return tuple(self.trials)

    @property
    def table(self) -> pd.DataFrame:
        """The trial tables of all sessions, one after the other."""
        return pd.concat(self.trials.values(), ignore_index=True)

    @property
    def rsquare_voxels(self) -> IntArray:
        """Sorted ids of the voxels of the other mask: the R2mean map is neither 0 nor NaN."""
        lost = set.intersection(*(set(ids.tolist()) for ids in self.nan_session_voxels.values()))
        out = np.concatenate([self.nan_voxels, self.silent_voxels, np.array(sorted(lost), np.int64)])
        return self.voxels[~np.isin(self.voxels, out)]

    def positions(self, voxels: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the positions on the voxel axis of C-order ids; those outside the brain mask are left out."""
        return np.flatnonzero(np.isin(self.voxels, voxels))

    def roi_mask(self, roi: str) -> BoolArray:
        """Return an ROI as a volume, bool (X, Y, Z)."""
        out = np.zeros(self.mask.size, np.bool_)
        out[self.rois[roi]] = True
        return out.reshape(self.mask.shape)

    def volume(self, values: npt.NDArray[np.generic], outside: float = 0) -> npt.NDArray[np.generic]:
        """Return values of the voxel axis as a volume (X, Y, Z), with a constant outside the brain."""
        out = np.full(self.mask.shape, outside, values.dtype)
        out[self.mask] = values
        return out

    def ceiling(self, repeats: Iterable[int]) -> FloatArray:
        """Return the noise ceiling of images with the given numbers of repeats, float32 (voxel,), percent."""
        return noise_ceiling(self.ncsnr, float(np.mean([1 / n for n in repeats])))


@dataclass(frozen=True, eq=False)
class Truth:
    """What `simulate` knows of the dataset that it wrote.

    Attributes
    ----------
    root : Path
        Folder of the dataset.
    seed : int
        Seed of the simulation.
    grid : tuple of int
        Voxels along each axis of the functional grid.
    subjects : mapping
        Subject -> `SubjectTruth`, in the order they were asked for.
    stimuli : StimulusTruth
        The images.
    """

    root: Path
    seed: int
    grid: tuple[int, int, int]
    subjects: Mapping[str, SubjectTruth]
    stimuli: StimulusTruth

    def __repr__(self) -> str:
        grid = " x ".join(map(str, self.grid))
        head = f"<Truth: {count_text(len(self.stimuli.names), 'image')}, grid {grid}, seed {self.seed}, in {self.root}"
        return "\n".join([head, *(f"  {subject!r}" for subject in self.subjects.values())]) + ">"

    def __getitem__(self, subject: str | int) -> SubjectTruth:
        """Return a subject: `"sub-03"`, `"03"` or `3`."""
        name = layout.subject_name(subject)
        if name not in self.subjects:
            raise SubjectNotFoundError(did_you_mean("subject", name, self.subjects))
        return self.subjects[name]

    def signal(self, subject: str | int, stimuli: Iterable[str]) -> FloatArray:
        """Return the noise-free betas of named images.

        Parameters
        ----------
        subject
            `"sub-03"`, `"03"` or `3`.
        stimuli
            File names of images, any order, repeats allowed.

        Returns
        -------
        ndarray of float32, shape (stimulus, voxel)
            Percent signal change, before any session's gain and offset; no missing values.
        """
        known = self[subject]
        return known.mean + self.stimuli.features_of(stimuli) @ known.weights.T

    def betas(
        self, subject: str | int, session: str | int, trials: Sequence[int] | IntArray | None = None
    ) -> FloatArray:
        """Return the betas of a session exactly as they were written.

        Parameters
        ----------
        subject, session
            Names or numbers.
        trials
            Positions in the session, any order, repeats allowed; all where left out.

        Returns
        -------
        ndarray of float32, shape (trial, voxel)
            Percent signal change; NaN where nothing was modelled.
        """
        known = self[subject]
        name = layout.session_name(session)
        if name not in known.trials:
            raise unknown_label("session", name, known.trials)
        picks = range(len(known.trials[name])) if trials is None else trials
        out = np.empty((len(picks), len(known.voxels)), np.float32)
        features = self.stimuli.features_of(known.trials[name]["label"])
        for row, trial in enumerate(picks):
            out[row] = trial_betas(known, name, int(trial), features[trial])
        return out


def trial_betas(subject: SubjectTruth, session: str, trial: int, features: FloatArray) -> FloatArray:
    """Return the betas of one trial as written, float32 (voxel,).

    The one place where betas are made, a trial at a time: a trial's numbers cannot depend on which others are read.
    """
    rng = stream(subject.seed, subject.name, session, "noise", trial)
    out = rng.standard_normal(len(subject.voxels), np.float32)
    out *= subject.noise_sd
    out += subject.weights @ features
    out += subject.mean
    out *= np.float32(subject.gains[session])
    out += subject.offsets[session]
    out[np.searchsorted(subject.voxels, subject.nan_voxels)] = np.nan
    out[np.searchsorted(subject.voxels, subject.nan_session_voxels[session])] = np.nan
    entries = subject.nan_entries[session]
    out[np.searchsorted(subject.voxels, entries[entries[:, 0] == trial, 1])] = np.nan
    return out
