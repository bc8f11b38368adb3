"""Free functions, xarray in, xarray out; `.laion` has them as methods."""

from laion_xr.analysis.information import DatasetInfo, dataset_info
from laion_xr.analysis.select import select
from laion_xr.analysis.volumes import geometry, to_nifti

__all__ = ["DatasetInfo", "dataset_info", "geometry", "select", "to_nifti"]
