"""The LAION-fMRI dataset as labelled, lazy xarray Datasets.

`xr.open_dataset(root, engine="laion_fmri")` needs no import of this package.
"""

import importlib
from typing import TYPE_CHECKING

from laion_xr import accessor as _accessor  # noqa: F401 - registers .laion
from laion_xr import config
from laion_xr._version import __version__
from laion_xr.lazy.budget import decode_budget, set_decode_budget
from laion_xr.simulate import simulate
from laion_xr.stimuli import load_stimuli

if TYPE_CHECKING:
    from laion_xr.access.download import download, download_captions, download_embeddings, download_segmentations
    from laion_xr.access.gated import download_stimuli
    from laion_xr.access.licence import accept_license
    from laion_xr.report import write_report
    from laion_xr.store.ingest import ingest
    from laion_xr.store.survey import plan_ingest
    from laion_xr.store.verify import verify

__all__ = [
    "__version__",
    "accept_license",
    "config",
    "decode_budget",
    "download",
    "download_captions",
    "download_embeddings",
    "download_segmentations",
    "download_stimuli",
    "ingest",
    "load_stimuli",
    "plan_ingest",
    "set_decode_budget",
    "simulate",
    "verify",
    "write_report",
]

# what only some need is imported when it is first named: Zarr alone is a quarter of a second
_LATER = {
    "accept_license": "laion_xr.access.licence",
    "download": "laion_xr.access.download",
    "download_captions": "laion_xr.access.download",
    "download_embeddings": "laion_xr.access.download",
    "download_segmentations": "laion_xr.access.download",
    "download_stimuli": "laion_xr.access.gated",
    "ingest": "laion_xr.store",
    "plan_ingest": "laion_xr.store",
    "verify": "laion_xr.store",
    "write_report": "laion_xr.report",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'laion_xr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
