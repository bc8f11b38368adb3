"""The accessor `.laion` on Datasets and DataArrays: thin, a line a method."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import nibabel as nib
import xarray as xr

from laion_xr.analysis.information import DatasetInfo, dataset_info
from laion_xr.analysis.select import select
from laion_xr.analysis.volumes import to_nifti
from laion_xr.dataset import index_labels

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)


class _Accessor(Generic[XarrayT]):
    def __init__(self, obj: XarrayT) -> None:
        self._obj: XarrayT = obj

    def sel(self, **labels: Any) -> XarrayT:
        """Select by any label, a sphere, or a mask: see `laion_xr.analysis.select`."""
        return select(self._obj, **labels)

    def index_labels(self) -> XarrayT:
        """Restore the label indexes (after `to_zarr`, `to_netcdf`, `drop_indexes`)."""
        return index_labels(self._obj)

    def to_nifti(self, values: Any = None, path: str | Path | None = None) -> nib.Nifti1Image:
        """Put values back into the grid as a NIfTI image: see `laion_xr.analysis.to_nifti`."""
        return to_nifti(self._obj, values, path)

    def info(self) -> DatasetInfo:
        """Return what is there as tables of sessions and ROIs: see `laion_xr.analysis.dataset_info`."""
        return dataset_info(self._obj)


@xr.register_dataset_accessor("laion")
class LaionDatasetAccessor(_Accessor[xr.Dataset]):
    """`.laion` of a Dataset."""


@xr.register_dataarray_accessor("laion")
class LaionDataArrayAccessor(_Accessor[xr.DataArray]):
    """`.laion` of a DataArray."""
