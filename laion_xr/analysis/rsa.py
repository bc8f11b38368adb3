"""Representational dissimilarity matrices, in blocks of voxels, and their comparison."""

from __future__ import annotations

from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from laion_xr.analysis.blocks import memory_blocks
from laion_xr.analysis.features import betas_of
from laion_xr.analysis.moments import Float64, FloatArray
from laion_xr.errors import SelectionError, UnknownLabelError, describe_names

METRICS = ("correlation", "cosine", "euclidean", "sqeuclidean")
METHODS = ("spearman", "pearson")


class Products(NamedTuple):
    """Sums over voxels: of products of two rows (row, row), of a row (row,), and how many voxels."""

    products: Float64
    sums: Float64
    n: int


def rdm(obj: xr.Dataset | xr.DataArray, metric: str = "correlation") -> xr.DataArray:
    """Return the dissimilarity of the response patterns of every two images.

    Each block of voxels is read once and reduced to the products of its rows. Lazy where the betas are.

    Parameters
    ----------
    obj
        A Dataset with `betas`, or betas: (stimulus, voxel), repeats averaged, or (trial, voxel).
    metric
        `"correlation"`: 1 - the correlation over voxels; `"cosine"`: 1 - the cosine; `"euclidean"`, `"sqeuclidean"`,
        in the unit of the betas, and its square.

    Returns
    -------
    xr.DataArray
        (stimulus, stimulus_2), symmetric, 0 on the diagonal; (trial, trial_2) for trials. float64. A voxel that is
        missing in any row is left out for all. NaN for patterns without variance (correlation) or length (cosine), and
        where no voxel is left.

    Raises
    ------
    SelectionError
        Other dims, or a metric that is not known.

    Notes
    -----
    Kriegeskorte, Mur & Bandettini (2008, Frontiers in Systems Neuroscience 2, 4).

    Examples
    --------
    >>> rdm(ds.betas.sel(roi="FFA1", unique_or_shared="shared").groupby("stimulus").mean())  # doctest: +SKIP
    """
    betas, row = betas_of(obj, "rdm")
    if metric not in METRICS:
        raise SelectionError(f"metric is one of {', '.join(METRICS)}, found {metric!r}.")
    blocks = memory_blocks(betas, whole_rows=True)
    total: Any = None
    if isinstance(blocks, da.Array):
        for block in blocks.to_delayed(optimize_graph=False)[0]:
            part = delayed(_products)(block)
            total = part if total is None else delayed(_add)(total, part)
        n = betas.sizes[row]
        data: Any = da.from_delayed(delayed(_distances)(total, metric), (n, n), np.float64)
    else:
        for block in blocks:
            part = _products(block)
            total = part if total is None else _add(total, part)
        data = _distances(total, metric)
    found = xr.DataArray(data, dims=(row, f"{row}_2"), name="rdm", attrs={"metric": metric})
    if row in betas.coords:
        labels = betas.coords[row].values
        found = found.assign_coords({row: labels, f"{row}_2": labels})
    return found


def rsa(first: xr.DataArray, second: xr.DataArray, method: str = "spearman") -> xr.DataArray:
    """Correlate two dissimilarity matrices, over the pairs of images above the diagonal.

    Parameters
    ----------
    first, second
        What `rdm` returned, or a model's: two dims of the same images. Matched by the coordinate of the first dim where
        both have it; they must then hold the same images, in any order.
    method
        `"spearman"` (ties get mean ranks) or `"pearson"`.

    Returns
    -------
    xr.DataArray
        A number, lazy where either matrix is. Pairs that are NaN in either are left out; NaN where fewer than three
        are left or all are equal.

    Raises
    ------
    SelectionError
        Matrices that are not square, of other sizes, or a method that is not known.
    UnknownLabelError
        Images of one that the other lacks.

    Examples
    --------
    >>> rsa(rdm(ffa), rdm(ppa))  # doctest: +SKIP
    """
    if method not in METHODS:
        raise SelectionError(f"method is one of {', '.join(METHODS)}, found {method!r}.")
    for name, matrix in (("first", first), ("second", second)):
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise SelectionError(
                f"rsa needs the {name} matrix to be square, two dims of images such as (stimulus, stimulus_2); found "
                f"{dict(zip(matrix.dims, matrix.shape, strict=True))}."
            )
    a, b = first.dims[0], second.dims[0]
    if a in first.coords and b in second.coords:
        second = _in_order(second, first.coords[a].values)
    elif first.shape != second.shape:
        raise SelectionError(
            f"Expected two matrices of the same images, found {first.shape[0]} and {second.shape[0]}: give both a "
            "coordinate of image names, and they are matched."
        )
    if isinstance(first.data, da.Array) or isinstance(second.data, da.Array):
        value = delayed(_compare)(first.data, second.data, method)
        return xr.DataArray(da.from_delayed(value, (), np.float64), name="rsa", attrs={"method": method})
    return xr.DataArray(_compare(first.data, second.data, method), name="rsa", attrs={"method": method})


def _in_order(matrix: xr.DataArray, labels: npt.NDArray[Any]) -> xr.DataArray:
    dim, other = matrix.dims
    known = pd.Index(matrix.coords[dim].values)
    if not known.is_unique:
        raise SelectionError(f"Expected each image once, found {known[known.duplicated()][0]!r} more than once.")
    where = known.get_indexer(pd.Index(labels))
    if (where < 0).any() or len(labels) != len(known):
        lost = labels[where < 0].tolist() or sorted(set(known) - set(labels.tolist()))
        raise UnknownLabelError(
            f"Expected two matrices of the same images, found {len(lost)} in only one: {describe_names(lost, 3)}; "
            "select the images that both have."
        )
    return matrix.isel({dim: where, other: where})


def _products(betas: FloatArray) -> Products:
    values = betas[:, np.isfinite(betas).all(axis=0)].astype(np.float64)
    return Products(values @ values.T, values.sum(axis=1), values.shape[1])


def _add(a: Products, b: Products) -> Products:
    return Products(a.products + b.products, a.sums + b.sums, a.n + b.n)


def _distances(total: Products, metric: str) -> Float64:
    products, sums, n = total
    if not n:
        return np.full(products.shape, np.nan)
    if metric == "correlation":
        products = products - np.outer(sums, sums) / n
    power = np.diagonal(products)
    if metric in ("correlation", "cosine"):
        least = n * (16 * np.finfo(np.float32).eps * sums / n) ** 2 if metric == "correlation" else 0
        length = np.sqrt(np.where(power > least, power, np.nan))
        found = 1 - np.clip(products / np.outer(length, length), -1, 1)
        diagonal = np.where(np.isnan(length), np.nan, 0)
    else:
        found = np.maximum(power[:, None] + power - 2 * products, 0)
        found = np.sqrt(found) if metric == "euclidean" else found
        diagonal = np.zeros(len(found))
    np.fill_diagonal(found, diagonal)
    return np.asarray((found + found.T) / 2)


def _compare(first: FloatArray, second: FloatArray, method: str) -> Float64:
    above = np.triu_indices(len(first), 1)
    x, y = np.asarray(first[above], dtype=np.float64), np.asarray(second[above], dtype=np.float64)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if len(x) < 3:
        return np.asarray(np.nan)
    if method == "spearman":
        x, y = mean_ranks(x), mean_ranks(y)
    x, y = x - x.mean(), y - y.mean()
    length = np.sqrt((x @ x) * (y @ y))
    return np.asarray(x @ y / length if length > 0 else np.nan)


def mean_ranks(values: Float64) -> Float64:
    """Return the ranks of values, from 1; equal values get the mean of theirs. float64 (value,)."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[where])
