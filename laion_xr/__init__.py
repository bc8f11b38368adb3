"""The LAION-fMRI dataset as labelled, lazy xarray Datasets.

`xr.open_dataset(root, engine="laion_fmri")` needs no import of this package.
"""

from laion_xr import accessor as _accessor  # noqa: F401 - registers .laion
from laion_xr._version import __version__
from laion_xr.lazy.budget import decode_budget, set_decode_budget
from laion_xr.simulate import simulate
from laion_xr.store import ingest, plan_ingest, verify

__all__ = ["__version__", "decode_budget", "ingest", "plan_ingest", "set_decode_budget", "simulate", "verify"]
