"""Names, dims, dtypes, units and long names of everything in a Dataset: tables of data.

Nobody else spells a variable's name, unit or dtype.
"""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """A variable or coordinate of the Dataset."""

    dims: tuple[str, ...]
    dtype: str  # numpy's spelling; "object" for text
    long_name: str
    units: str = ""

    @property
    def attrs(self) -> dict[str, str]:
        """The attributes that go with it."""
        return {"long_name": self.long_name} | ({"units": self.units} if self.units else {})


TRIAL, VOXEL, SES = "trial", "voxel", "ses"
SUBJECT = "subject"
_T, _V = (TRIAL,), (VOXEL,)

FIELDS: dict[str, Field] = {
    "betas": Field((TRIAL, VOXEL), "float32", "single-trial response (GLMsingle TYPED)", "percent signal change"),
    # trials
    "trial": Field(_T, "int64", "position in the subject's full trial table"),
    "session": Field(_T, "object", "session"),
    "stimulus": Field(_T, "object", "file name of the image shown"),
    "run": Field(_T, "int64", "run within the session"),
    "session_trial": Field(_T, "int64", "position in the session"),
    "beta_index": Field(_T, "int64", "volume in the session's beta file, as its table counts"),
    "stimulus_index": Field(_T, "int64", "row in the stimulus metadata, -1 unknown"),
    "unique_or_shared": Field(_T, "object", "shown to this subject only, or to all"),
    "dataset": Field(_T, "object", "collection that the image is from"),
    "repetition": Field(_T, "int64", "how often this subject had seen the stimulus before"),
    # voxels
    "voxel": Field(_V, "int64", "C-order flat index in the grid"),
    "i": Field(_V, "int16", "first grid index"),
    "j": Field(_V, "int16", "second grid index"),
    "k": Field(_V, "int16", "third grid index"),
    "x": Field(_V, "float32", "position in T1w space, left to right", "mm"),
    "y": Field(_V, "float32", "position in T1w space, posterior to anterior", "mm"),
    "z": Field(_V, "float32", "position in T1w space, inferior to superior", "mm"),
    "roi": Field(_V, "object", "names of the ROIs that hold the voxel, joined by +"),
    "noise_ceiling": Field(_V, "float32", "noise ceiling", "%"),
    "noise_ceiling_12rep": Field(_V, "float32", "noise ceiling, images shown 12 times", "%"),
    "noise_ceiling_4rep": Field(_V, "float32", "noise ceiling, images shown 4 times", "%"),
    "noise_ceiling_Allrep": Field(_V, "float32", "noise ceiling, all repeated images", "%"),
    "r2_mean": Field(_V, "float32", "variance explained, mean over sessions", "%"),
    # maps of a session
    "ses": Field((SES,), "object", "session of a map"),
    "noise_ceiling_session": Field((SES, VOXEL), "float32", "noise ceiling within the session", "%"),
    "r2_session": Field((SES, VOXEL), "float32", "variance explained in the session", "%"),
    "hrf_index": Field((SES, VOXEL), "int16", "chosen HRF of the library, -1 where there is none"),
    "frac_ridge": Field((SES, VOXEL), "float32", "ridge fraction"),
}

STIMULUS, CAPTION_SLOT = "stimulus", "caption_slot"
IMAGE_DIMS = ("y", "x", "rgb")
_S = (STIMULUS,)

# The Dataset of the stimuli; what the metadata say comes along under its own names
STIMULUS_FIELDS: dict[str, Field] = {
    "stimulus": Field(_S, "object", "file name of the image"),
    "stimulus_index": Field(_S, "int64", "row in the stimulus metadata"),
    "unique_or_shared": Field(_S, "object", "shown to one subject only, or to all"),
    "dataset": Field(_S, "object", "collection that the image is from"),
    "participant": Field(_S, "object", "who saw a unique image, all for a shared one"),
    "n_reps": Field(_S, "int64", "how often a subject saw the image, as planned"),
    "ood_type": Field(_S, "object", "kind of an out-of-distribution image, as its name tells"),
    "cluster": Field(_S, "int64", "cluster of the image, as its name tells; -1 unknown"),
    "image": Field((STIMULUS, *IMAGE_DIMS), "uint8", "image"),
    "caption": Field((STIMULUS, CAPTION_SLOT), "object", "caption of the image"),
    "caption_slot": Field((CAPTION_SLOT,), "int64", "number of the caption"),
    "caption_source": Field((STIMULUS, CAPTION_SLOT), "object", "who wrote the caption: human or ai"),
    "n_masks": Field(_S, "int64", "number of segmentation masks"),
}

# Dataset variable -> kind of file (layout.SESSION_MAPS, layout.SUBJECT_MAPS)
SESSION_MAP_FILES = {
    "noise_ceiling_session": "noise_ceiling",
    "r2_session": "r2",
    "hrf_index": "hrf_index",
    "frac_ridge": "frac_ridge",
}
SUBJECT_MAP_VARIABLES = ("noise_ceiling_12rep", "noise_ceiling_4rep", "noise_ceiling_Allrep", "r2_mean")

# Labels that .sel() understands, by dimension: one index over each group
TRIAL_LABELS = ("session", "run", "stimulus", "repetition", "unique_or_shared")
VOXEL_LABELS = ("roi", "noise_ceiling")
# Where the voxels of several subjects are on one axis
SHARED_VOXEL_LABELS = (SUBJECT, *VOXEL_LABELS)

# The order in which a Dataset shows its coordinates: labels first, then positions
TRIAL_ORDER = ("session", "run", "stimulus", "repetition", "unique_or_shared", "dataset", "stimulus_index")
VOXEL_ORDER = ("roi", "noise_ceiling", "x", "y", "z", "i", "j", "k")

# What the names of a subject's unique images end in: not the subjects' numbers
PARTICIPANT_CODES = {"sub-01": "p01", "sub-03": "p04", "sub-05": "p03", "sub-06": "p02", "sub-07": "p05"}

# columns of the published trial tables -> names of the Dataset
TRIAL_COLUMNS = {"label": "stimulus"}

ROI_SEPARATOR = "+"


def attrs(name: str) -> dict[str, str]:
    """Return the attributes of a variable; none for a name that the schema does not know."""
    return dict(FIELDS[name].attrs) if name in FIELDS else {}
