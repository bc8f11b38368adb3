"""Where the files of the published dataset lie: (subject, session, kind) <-> relative path.

Pure: strings in, strings out, no file is touched. Paths are POSIX paths relative to the root.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BETAS_DIR = "derivatives/glmsingle-tedana"
ROIS_DIR = "derivatives/rois"
ANATOMICAL_DIR = "derivatives/anatomical"
FREESURFER_DIR = "derivatives/freesurfer"
STIMULI_DIR = "stimuli"

ROI_CATEGORIES = ("body", "character", "face", "laion", "motion", "object", "place", "retinotopy")
EMBEDDING_MODELS = ("CLIP", "DINOv2", "PEcore", "SigLIP2")

# kind -> the part of the file's name after "{sub}_{ses}_task-images_", without the NIfTI ending
SESSION_MAPS = {
    "betas": "space-T1w_stat-effect_desc-SingletrialBetas_statmap",
    "noise_ceiling": "space-T1w_desc-Noiseceiling_statmap",
    "r2": "space-T1w_stat-rsquare_desc-R2_statmap",
    "hrf_index": "space-T1w_desc-HRFindex_dseg",
    "frac_ridge": "space-T1w_desc-Fracridge_statmap",
}
SESSION_FILES = {
    "trials": "desc-SingletrialBetas_trials.tsv",
    "model": "space-T1w_desc-GLMsingle_model.h5",
}
# kind -> the part after "{sub}_task-images_"
SUBJECT_MAPS = {
    "r2_mean": "space-T1w_stat-rsquare_desc-R2mean_statmap",
    "noise_ceiling_12rep": "space-T1w_desc-Noiseceiling12rep_statmap",
    "noise_ceiling_4rep": "space-T1w_desc-Noiseceiling4rep_statmap",
    "noise_ceiling_Allrep": "space-T1w_desc-NoiseceilingAllrep_statmap",
}
STIMULUS_FILES = {
    "metadata": "task-images_metadata.csv",
    "images": "task-images_stimuli.h5",
    "segmentations": "task-images_desc-segmentations.h5",
    "segmentations_metadata": "task-images_desc-segmentations_metadata.csv",
    "captions": "task-images_desc-captions.csv",
}

NIFTI_ENDINGS = (".nii.gz", ".nii")

_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_SESSION = re.compile(r"ses-[A-Za-z0-9]+")
_ROI_VOLUME = re.compile(r"(?P<sub>sub-[A-Za-z0-9]+)_space-T1w_res-1pt8_label-(?P<roi>[^_/]+)_mask\.nii(\.gz)?")
_ROI_SURFACE = re.compile(
    r"(?P<sub>sub-[A-Za-z0-9]+)_hemi-(?P<hemi>[LR])_space-fsnative_label-(?P<roi>[^_/]+)_mask\."
    r"(?P<ending>func\.gii|label)"
)


class RoiFile(NamedTuple):
    """What the name of an ROI file says."""

    category: str
    roi: str
    form: str  # "volume", "gifti", "label"
    hemi: str  # "L", "R", "" for a volume


def is_subject(name: str) -> bool:
    """Whether a folder's name is that of a subject."""
    return _SUBJECT.fullmatch(name) is not None


def is_session(name: str) -> bool:
    """Whether a folder's name is that of a session."""
    return _SESSION.fullmatch(name) is not None


def subject_name(subject: str | int) -> str:
    """Return the canonical name: `"sub-03"` for `"sub-03"`, `"03"`, `"3"` or `3`."""
    text = str(subject).removeprefix("sub-")
    return f"sub-{int(text):02d}" if text.isdigit() else f"sub-{text}"


def session_name(session: str | int) -> str:
    """Return the canonical name: `"ses-01"` for `"ses-01"`, `"01"`, `"1"` or `1`."""
    text = str(session).removeprefix("ses-")
    return f"ses-{int(text):02d}" if text.isdigit() else f"ses-{text}"


def subject_dir(subject: str) -> str:
    """Folder of a subject's betas and maps."""
    return f"{BETAS_DIR}/{subject}"


def session_dir(subject: str, session: str) -> str:
    """Folder of a session's betas, maps, trial table and model."""
    return f"{BETAS_DIR}/{subject}/{session}/func"


def session_path(subject: str, session: str, kind: str, ending: str = ".nii.gz") -> str:
    """Path of a session's file; `kind` is one of `SESSION_MAPS` or `SESSION_FILES`."""
    stem = f"{session_dir(subject, session)}/{subject}_{session}_task-images_"
    return stem + (SESSION_MAPS[kind] + ending if kind in SESSION_MAPS else SESSION_FILES[kind])


def subject_path(subject: str, kind: str, ending: str = ".nii.gz") -> str:
    """Path of a subject's map; `kind` is one of `SUBJECT_MAPS`."""
    return f"{subject_dir(subject)}/{subject}_task-images_{SUBJECT_MAPS[kind]}{ending}"


def summary_path(subject: str, session: str | None = None) -> str:
    """Path of the JSON summary of GLMsingle, of a session or of the whole subject."""
    if session is None:
        return f"{subject_dir(subject)}/{subject}_task-images_desc-GLMsingle_summary.json"
    return f"{session_dir(subject, session)}/{subject}_{session}_task-images_desc-GLMsingle_summary.json"


def sidecar_path(path: str) -> str:
    """Path of the JSON sidecar that goes with a file: the same name, another ending."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}.json"


def anatomical_dir(subject: str) -> str:
    """Folder of a subject's anatomical images and brain mask."""
    return f"{ANATOMICAL_DIR}/{subject}/ses-PrismaAnat/anat"


def brain_mask_path(subject: str, ending: str = ".nii.gz") -> str:
    """Path of the brain mask on the functional grid (`res-1pt8`)."""
    return f"{anatomical_dir(subject)}/{subject}_ses-PrismaAnat_space-T1w_res-1pt8_desc-brain_mask{ending}"


def full_brain_mask_path(subject: str) -> str:
    """Path of the brain mask at full anatomical resolution, which does not align with betas."""
    return f"{anatomical_dir(subject)}/{subject}_ses-PrismaAnat_space-T1w_desc-brain_mask.nii.gz"


def anatomical_path(subject: str, image: str = "T1w", functional_grid: bool = True) -> str:
    """Path of the `T1w` or `T2w` image, on the functional grid or at full resolution."""
    res = "_res-1pt8" if functional_grid else ""
    return f"{anatomical_dir(subject)}/{subject}_ses-PrismaAnat_space-T1w{res}_{image}.nii.gz"


def freesurfer_dir(subject: str) -> str:
    """Folder of a subject's FreeSurfer reconstruction."""
    return f"{FREESURFER_DIR}/{subject}"


def freesurfer_path(subject: str, folder: str, name: str) -> str:
    """Path of a FreeSurfer file; `folder` is `"mri"`, `"surf"`, `"label"` or one inside these."""
    return f"{freesurfer_dir(subject)}/{folder}/{name}"


def roi_dir(subject: str) -> str:
    """Folder of a subject's ROIs, a folder a category."""
    return f"{ROIS_DIR}/{subject}"


def roi_path(subject: str, category: str, roi: str, form: str = "volume", hemi: str = "L") -> str:
    """Path of an ROI's file; `form` is `"volume"`, `"gifti"` or `"label"`."""
    folder = f"{roi_dir(subject)}/{category}"
    if form == "volume":
        return f"{folder}/{subject}_space-T1w_res-1pt8_label-{roi}_mask.nii.gz"
    ending = {"gifti": "func.gii", "label": "label"}[form]
    return f"{folder}/{subject}_hemi-{hemi}_space-fsnative_label-{roi}_mask.{ending}"


def parse_roi_path(path: str) -> RoiFile | None:
    """Return what an ROI file's path says, or None where it is not one."""
    folder, _, name = path.rpartition("/")
    category = folder.rpartition("/")[2]
    if m := _ROI_VOLUME.fullmatch(name):
        return RoiFile(category, m["roi"], "volume", "")
    if m := _ROI_SURFACE.fullmatch(name):
        return RoiFile(category, m["roi"], "gifti" if m["ending"] == "func.gii" else "label", m["hemi"])
    return None


def stimulus_path(kind: str) -> str:
    """Path of a stimulus file; `kind` is one of `STIMULUS_FILES`."""
    return f"{STIMULI_DIR}/{STIMULUS_FILES[kind]}"


def embedding_path(model: str) -> str:
    """Path of the embeddings of a model."""
    return f"{STIMULI_DIR}/task-images_desc-{model}_embeddings.h5"


def embedding_model(path: str) -> str | None:
    """Return the model of an embeddings file, or None where the path is not one."""
    m = re.fullmatch(rf"{STIMULI_DIR}/task-images_desc-([^_/]+)_embeddings\.h5", path)
    return m[1] if m else None


def natural_order(name: str) -> tuple[object, ...]:
    """Return what sorts names as people do: numbers within them by their size."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name))
