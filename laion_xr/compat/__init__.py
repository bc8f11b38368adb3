"""The surface of the published loader's documentation, on top of laion_xr: for code that was written for that loader.

`import laion_xr.compat as laion_fmri`, and `from laion_xr.compat.subject import load_subject`. New code is better off
with `xr.open_dataset(..., engine="laion_fmri")`.
"""

from laion_xr._version import __version__
from laion_xr.compat import config, discovery, download, errors, group, splits, stimuli, subject
from laion_xr.compat.captions import Captions
from laion_xr.compat.config import dataset_initialize, get_data_dir
from laion_xr.compat.discovery import describe, get_rois, get_subjects
from laion_xr.compat.download import (
    download_captions,
    download_embeddings,
    download_segmentations,
    download_stimuli,
    request_stimulus_access,
)
from laion_xr.compat.embeddings import Embeddings, load_embeddings
from laion_xr.compat.errors import (
    DataDirNotSetError,
    DataNotDownloadedError,
    LicenseNotAcceptedError,
    StimuliNotDownloadedError,
    SubjectNotFoundError,
)
from laion_xr.compat.group import Group, load_subjects
from laion_xr.compat.segmentations import Segmentations
from laion_xr.compat.stimuli import Stimuli, as_displayed_rgb, load_stimuli, load_stimulus, load_stimulus_metadata
from laion_xr.compat.subject import Subject, load_subject, resolve_subject_id

set_data_dir = dataset_initialize

__all__ = [
    "Captions",
    "DataDirNotSetError",
    "DataNotDownloadedError",
    "Embeddings",
    "Group",
    "LicenseNotAcceptedError",
    "Segmentations",
    "Stimuli",
    "StimuliNotDownloadedError",
    "Subject",
    "SubjectNotFoundError",
    "__version__",
    "as_displayed_rgb",
    "config",
    "dataset_initialize",
    "describe",
    "discovery",
    "download",
    "download_captions",
    "download_embeddings",
    "download_segmentations",
    "download_stimuli",
    "errors",
    "get_data_dir",
    "get_rois",
    "get_subjects",
    "group",
    "load_embeddings",
    "load_stimuli",
    "load_stimulus",
    "load_stimulus_metadata",
    "load_subject",
    "load_subjects",
    "request_stimulus_access",
    "resolve_subject_id",
    "set_data_dir",
    "splits",
    "stimuli",
    "subject",
]
