"""The surface of the published loader's documentation, on top of laion_xr: for code that was written for that loader.

`import laion_xr.compat as laion_fmri`, and `from laion_xr.compat.subject import load_subject`. New code is better off
with `xr.open_dataset(..., engine="laion_fmri")`.
"""

from laion_xr.compat import config, discovery, download, errors, group, splits, stimuli, subject
from laion_xr.compat.captions import Captions
from laion_xr.compat.config import dataset_initialize, get_data_dir
from laion_xr.compat.download import (
    download_captions,
    download_embeddings,
    download_segmentations,
    download_stimuli,
)
from laion_xr.compat.embeddings import Embeddings, load_embeddings
from laion_xr.compat.group import Group, load_subjects
from laion_xr.compat.segmentations import Segmentations
from laion_xr.compat.stimuli import Stimuli, load_stimuli, load_stimulus, load_stimulus_metadata
from laion_xr.compat.subject import Subject, load_subject

__all__ = [
    "Captions",
    "Embeddings",
    "Group",
    "Segmentations",
    "Stimuli",
    "Subject",
    "config",
    "dataset_initialize",
    "discovery",
    "download",
    "download_captions",
    "download_embeddings",
    "download_segmentations",
    "download_stimuli",
    "errors",
    "get_data_dir",
    "group",
    "load_embeddings",
    "load_stimuli",
    "load_stimulus",
    "load_stimulus_metadata",
    "load_subject",
    "load_subjects",
    "splits",
    "stimuli",
    "subject",
]
