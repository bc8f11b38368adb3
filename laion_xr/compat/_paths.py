"""The paths that the published examples take from the loader's `_paths`: full paths under a data folder."""

from __future__ import annotations

import os
from pathlib import Path

from laion_xr import layout
from laion_xr.compat.arguments import Session, one_session

Folder = str | os.PathLike[str]


def glmsingle_subject_dir(data_dir: Folder, subject: str) -> Path:
    """Folder of a subject's betas and maps."""
    return Path(data_dir) / layout.subject_dir(subject)


def rois_subject_dir(data_dir: Folder, subject: str) -> Path:
    """Folder of a subject's ROIs."""
    return Path(data_dir) / layout.roi_dir(subject)


def anatomical_subject_dir(data_dir: Folder, subject: str) -> Path:
    """Folder of a subject's anatomical derivatives."""
    return Path(data_dir) / layout.ANATOMICAL_DIR / subject


def freesurfer_subject_dir(data_dir: Folder, subject: str) -> Path:
    """Folder of a subject's FreeSurfer reconstruction."""
    return Path(data_dir) / layout.freesurfer_dir(subject)


def freesurfer_surf_path(data_dir: Folder, subject: str, hemi: str, name: str) -> Path:
    """File of a hemisphere (`"L"`, `"R"`) in the folder `surf`: `"pial"`, `"white"`, `"sulc"`, ..."""
    return Path(data_dir) / layout.freesurfer_path(subject, "surf", f"{hemi.lower()}h.{name}")


def betas_path(data_dir: Folder, subject: str, session: Session) -> Path:
    """File of the betas of a session."""
    return Path(data_dir) / layout.session_path(subject, one_session(session), "betas")


def trialinfo_path(data_dir: Folder, subject: str, session: Session) -> Path:
    """File of the trial table of a session."""
    return Path(data_dir) / layout.session_path(subject, one_session(session), "trials")


def session_noise_ceiling_path(data_dir: Folder, subject: str, session: Session) -> Path:
    """File of the noise ceiling within a session."""
    return Path(data_dir) / layout.session_path(subject, one_session(session), "noise_ceiling")


def subject_noise_ceiling_path(data_dir: Folder, subject: str, desc: str) -> Path:
    """File of a noise ceiling over sessions, by its `desc` (`"Noiseceiling12rep"`)."""
    return Path(data_dir) / f"{subject_map_stem(subject, desc)}.nii.gz"


def r2mean_path(data_dir: Folder, subject: str) -> Path:
    """File of the mean R2 map, which is the mask `"rsquare"`."""
    return Path(data_dir) / layout.subject_path(subject, "r2_mean")


def stimuli_h5_path(data_dir: Folder) -> Path:
    """File of the images."""
    return Path(data_dir) / layout.stimulus_path("images")


def stimuli_metadata_path(data_dir: Folder) -> Path:
    """File of the stimulus metadata."""
    return Path(data_dir) / layout.stimulus_path("metadata")


def subject_map_stem(subject: str, desc: str) -> str:
    """Relative path of a subject's map by its `desc`, without the ending."""
    return f"{layout.subject_dir(subject)}/{subject}_task-images_space-T1w_desc-{desc}_statmap"


def anatomical_stem(subject: str, what: str, res: str | None) -> str:
    """Relative path of an anatomical image (`"T1w"`, `"desc-brain_mask"`), without the ending; `res` None: full."""
    token = "" if res is None else f"_res-{res}"
    return f"{layout.anatomical_dir(subject)}/{subject}_ses-PrismaAnat_space-T1w{token}_{what}"
