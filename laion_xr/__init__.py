"""The LAION-fMRI dataset as labelled, lazy xarray Datasets.

`xr.open_dataset(root, engine="laion_fmri")` needs no import of this package.
"""

import importlib
from typing import TYPE_CHECKING

from laion_xr import accessor as _accessor  # noqa: F401 - registers .laion
from laion_xr._version import __version__
from laion_xr.lazy.budget import decode_budget, set_decode_budget
from laion_xr.simulate import simulate
from laion_xr.stimuli import load_stimuli

if TYPE_CHECKING:
    from laion_xr.store.ingest import ingest
    from laion_xr.store.survey import plan_ingest
    from laion_xr.store.verify import verify

__all__ = [
    "__version__",
    "decode_budget",
    "ingest",
    "load_stimuli",
    "plan_ingest",
    "set_decode_budget",
    "simulate",
    "verify",
]

# what only some need is imported when it is first named: Zarr alone is a quarter of a second
_LATER = {"ingest": "laion_xr.store", "plan_ingest": "laion_xr.store", "verify": "laion_xr.store"}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'laion_xr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
