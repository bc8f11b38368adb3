"""Simulated data in the published layout, every file of it, with a known truth.

`simulate` writes a dataset and returns its `Truth`; the layers below are `settings` (arguments), `catalogue` and
`trials` (images and when they are shown), `brain`, `regions` and `tuning` (voxels), `images`, `truth` and
`make_truth` (what is known), and one module a group of files. Nothing here imports xarray or dask.
"""

from laion_xr.simulate.images import StimulusTruth
from laion_xr.simulate.truth import SubjectTruth, Truth
from laion_xr.simulate.write import simulate

__all__ = ["StimulusTruth", "SubjectTruth", "Truth", "simulate"]
