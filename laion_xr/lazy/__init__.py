"""Laziness: the only place that touches xarray's and dask's inner names."""
