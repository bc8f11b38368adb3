"""Readers of single files, one session or map each. numpy, nibabel, h5py and pandas only; no xarray, no dask."""
