"""Encoding models: ridge regression from features of the images to the betas of every voxel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed

from laion_xr.analysis.blocks import memory_blocks, reading_order, voxel_coordinates
from laion_xr.analysis.explainable import explainable
from laion_xr.analysis.features import (
    BAND,
    FEATURE,
    FeatureRows,
    Features,
    betas_of,
    feature_rows,
    fold_of_rows,
    row_groups,
)
from laion_xr.analysis.moments import Design, FloatArray, IntArray, accumulate, matrix_product
from laion_xr.analysis.ridge import Factors, Search, fit
from laion_xr.errors import SelectionError
from laion_xr.schema import VOXEL

ALPHAS = tuple(np.logspace(-1, 6, 15).tolist())


def encode(
    obj: xr.Dataset | xr.DataArray,
    features: Features,
    *,
    alphas: float | Iterable[float] = ALPHAS,
    cv: Any = 5,
    groups: Any = None,
    nested: bool = True,
    shares: Any = None,
    missing: str = "omit",
    noise_ceiling: Any = "noise_ceiling",
    ceiling_repeats: float | None = None,
    repeats: Any = None,
    device: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Fit a ridge regression from features to betas in every voxel, with an alpha of its own, and score it.

    One pass over the betas: they are read block by block and reduced to sums, from which all folds and alphas follow.
    Lazy where the betas are; nothing is read before `.compute()`.

    Parameters
    ----------
    obj
        A Dataset with `betas`, or betas: (trial, voxel), or repeats averaged, (stimulus, voxel).
    features
        A DataArray (trial, feature), matched by trial id, or (stimulus, feature), matched by the image's name; or the
        name of an embedding model or variable of the Dataset. Several feature spaces, as a mapping name -> one of
        these, each get an alpha of their own (banded ridge). Rows with a NaN are left out.
    alphas
        Penalties to choose from, positive: minimised is the sum of squares plus alpha times the squared norm.
    cv
        Number of folds over the images, or the fold of every row, int (row,), negative where it is always trained on,
        or a splitter of scikit-learn.
    groups
        What must not be in two folds: a coordinate's name or an array (row,). The images where left out.
    nested
        Score each fold with the alpha that the other folds choose. False: with the alpha that all choose, which is
        faster, and optimistic by a little.
    shares
        Candidates of the bands' squared scales, (candidate, band): the alpha of a band is alpha / share. A lattice on
        the simplex where left out.
    missing
        `"omit"`: a missing beta is left out for its voxel only, exactly (each pattern of missing trials costs a
        factorisation of its own). `"nan"`: a voxel with any missing beta is NaN.
    noise_ceiling
        A variable on `voxel` in percent (0-100), or its name; None for no normalised scores.
    ceiling_repeats
        For how many repeats of an image the ceiling was made: 12 and 4 for the maps `12rep` and `4rep`, as the
        coordinate says; must be given for others, or there are no normalised scores.
    repeats
        How many trials each row is the mean of: a number, an array (row,) or a coordinate's name. 1 for trials; the
        coordinate `n_reps` for means of them, as `average_repeats` makes it.
    device
        A device of torch for the large products (`"cuda"`); NumPy where left out.
    seed
        Of the folds.

    Returns
    -------
    xr.Dataset
        On `voxel`, with its coordinates: `coef` (feature, voxel), in betas per unit of the feature, and `intercept`;
        `alpha`, or (band, voxel); `r` and `r2` (correlation, and variance explained as a fraction of 1) of held-out
        betas, means over folds; `r_normalized` = r / sqrt(ceiling) and `r2_normalized` = r2 / ceiling, `ceiling` being
        the fraction of the variance of one row that can be explained. float32 (float64 for float64 betas).
        Voxels that are constant or missing are NaN.

    Raises
    ------
    SelectionError
        Betas or features with other dims, alphas that are not positive, fewer images than folds.
    UnknownLabelError
        Features that are not there, or that lack an image.
    MissingExtraError
        `device` without torch.

    Notes
    -----
    Alpha maximises the mean over folds of R2, for each voxel (as scikit-learn's `GridSearchCV`). Ceilings are converted
    by the noise-ceiling signal-to-noise ratio of Allen et al. (2022, Nature Neuroscience 25, 116-126). Banded ridge:
    Nunez-Elizalde, Huth & Gallant (2019, NeuroImage 197, 482-492). `docs/explanation/encoding.md` has the formulas.

    Examples
    --------
    >>> ds = xr.open_dataset(root, engine="laion_fmri", embeddings="CLIP")  # doctest: +SKIP
    >>> fit = ds.sel(roi="FFA1").laion.encode("CLIP", alphas=[1, 10, 100]).compute()  # doctest: +SKIP
    """
    betas, row = betas_of(obj, "encode")
    if missing not in ("omit", "nan"):
        raise SelectionError(f"missing is 'omit' or 'nan', found {missing!r}.")
    rows = feature_rows(obj, betas, row, features)
    folds, n_folds = fold_of_rows(row_groups(betas, row, groups), cv, seed)
    search = Search(_alphas(alphas), _shares(shares, len(rows.names)), rows.bands, nested)
    if n_folds < search.least_folds:
        raise SelectionError(f"Nested scores take 3 folds or more, found {n_folds}: give more, or nested=False.")
    matrix_product(device)  # that it is there is said now, not in a task
    dtype = np.dtype(np.float64 if betas.dtype == np.float64 else np.float32)
    packed = _fit(betas, rows.values, folds, n_folds, search, missing == "omit", dtype, device)
    found = _named(packed, betas, rows, search)
    share = explainable(obj, betas, row, noise_ceiling, ceiling_repeats, repeats)
    if share is not None:
        found["r_normalized"] = found["r"] / np.sqrt(share)
        found["r2_normalized"] = found["r2"] / share
        found["ceiling"] = share
    for name, text in LONG_NAMES.items():
        if name in found:
            found[name].attrs = {"long_name": text}
    found.attrs = {"n_folds": n_folds, "nested": int(nested), "rows": row}
    return found


LONG_NAMES = {
    "coef": "ridge coefficient, beta per unit of the feature",
    "intercept": "prediction for features of 0",
    "alpha": "ridge penalty",
    "r": "correlation of predicted and held-out betas, mean over folds",
    "r2": "variance explained of held-out betas, mean over folds",
    "r_normalized": "r over the square root of the ceiling",
    "r2_normalized": "R2 over the ceiling",
    "ceiling": "share of the variance of a row that can be explained",
}


def predict(fitted: xr.Dataset, features: xr.DataArray) -> xr.DataArray:
    """Predict betas from features.

    Parameters
    ----------
    fitted
        What `encode` returned.
    features
        (trial or stimulus, feature), features in the order in which they were fitted; bands one after the other.

    Returns
    -------
    xr.DataArray
        (trial or stimulus, voxel), in the unit of the betas; lazy where either is.

    Raises
    ------
    SelectionError
        Another number of features, other labels of them, or no dim of features.

    Examples
    --------
    >>> predict(fit, embeddings)  # doctest: +SKIP
    """
    dims = [dim for dim in features.dims if dim not in ("trial", "stimulus")]
    if len(dims) != 1 or features.ndim != 2:
        raise SelectionError(
            f"predict needs features with dims trial or stimulus, and features; found {features.dims}."
        )
    n_features = fitted.sizes[FEATURE]
    if features.sizes[dims[0]] != n_features:
        raise SelectionError(f"Expected {n_features} features, as were fitted; found {features.sizes[dims[0]]}.")
    labelled = dims[0] in features.coords and FEATURE in fitted.coords
    if labelled and not np.array_equal(features.coords[dims[0]].values, fitted.coords[FEATURE].values):
        raise SelectionError("Expected the features that were fitted, in their order; found other labels.")
    values = features.rename({dims[0]: FEATURE}).drop_vars([dims[0], FEATURE], errors="ignore")
    coef = fitted["coef"].drop_vars(FEATURE, errors="ignore")
    predicted: xr.DataArray = xr.dot(values.astype(coef.dtype), coef, dim=FEATURE) + fitted["intercept"]
    return predicted.rename("prediction").transpose(..., VOXEL)


def _alphas(alphas: float | Iterable[float]) -> npt.NDArray[np.float64]:
    values = np.array(list(alphas) if isinstance(alphas, Iterable) else [alphas], dtype=np.float64)
    if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
        raise SelectionError(f"Expected alphas that are positive numbers, found {alphas!r}.")
    return values


def _shares(shares: Any, n_bands: int) -> npt.NDArray[np.float64]:
    if shares is None:
        return simplex(n_bands)
    values = np.asarray(shares, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != n_bands or not len(values):
        raise SelectionError(f"Expected shares (candidate, band) of {n_bands} bands, found shape {values.shape}.")
    if not (np.isfinite(values).all() and (values >= 0).all() and (values > 0).any(axis=1).all()):
        raise SelectionError("Expected shares of 0 or more with one above 0 in every candidate, found others.")
    return values


def simplex(n_bands: int, parts: int = 4) -> npt.NDArray[np.float64]:
    """Return all ways to share `parts` parts between bands, as fractions: float64 (candidate, band)."""
    if n_bands == 1:
        return np.ones((1, 1))
    counts = [c for c in np.ndindex(*(parts + 1,) * n_bands) if sum(c) == parts]
    return np.array(counts, dtype=np.float64) / parts


def _prepare(
    features: FloatArray, folds: IntArray, n_folds: int, search: Search, dtype: npt.DTypeLike
) -> tuple[Design, Factors]:
    design = Design.of(features, folds, n_folds, search.least_folds, dtype)
    return design, Factors.of(design.moments, search)


def _solve(statistics: Any, prepared: tuple[Design, Factors], search: Search, omit: bool, device: str | None) -> Any:
    design, factors = prepared
    found = fit(statistics, design, factors, search, omit, matrix_product(device))
    found[len(search.bands)] -= design.center @ np.nan_to_num(found[: len(search.bands)])
    return found.astype(design.features.dtype)


def _add(previous: Any, betas: FloatArray, prepared: tuple[Design, Factors], start: int, device: str | None) -> Any:
    return accumulate(previous, betas, prepared[0], start, matrix_product(device))


def _in_order(columns: list[FloatArray], order: IntArray) -> FloatArray:
    joined = np.concatenate(columns, axis=1)
    out = np.empty_like(joined)
    out[:, order] = joined
    return out


def _fit(
    betas: xr.DataArray,
    features: Any,
    folds: IntArray,
    n_folds: int,
    search: Search,
    omit: bool,
    dtype: np.dtype[Any],
    device: str | None,
) -> Any:
    """Return the rows of `Search.n_rows`, (row, voxel), NumPy or Dask as the betas are."""
    n_voxels = betas.sizes[VOXEL]
    if not n_voxels:
        return np.zeros((search.n_rows, 0), dtype)
    order = reading_order(betas)
    blocks = memory_blocks(betas if order is None else betas.isel({VOXEL: order}))
    if not isinstance(blocks, da.Array):
        prepared = _prepare(np.asarray(features), folds, n_folds, search, dtype)
        return np.concatenate(
            [_solve(_add(None, block, prepared, 0, device), prepared, search, omit, device) for block in blocks], axis=1
        )
    prepare = delayed(_prepare)(features, folds, n_folds, search, dtype)
    starts = np.cumsum([0, *blocks.chunks[0]]).tolist()
    columns = []
    # not map_blocks: Dask would fuse the chain into one task, which holds all sessions at once
    for column, width in zip(blocks.to_delayed(optimize_graph=False).T, blocks.chunks[1], strict=True):
        statistics = None
        for block, start in zip(column, starts, strict=False):
            statistics = delayed(_add)(statistics, block, prepare, start, device)
        solved = delayed(_solve)(statistics, prepare, search, omit, device)
        columns.append(solved if order is not None else da.from_delayed(solved, (search.n_rows, width), dtype))
    if order is None:
        return da.concatenate(columns, axis=1)
    return da.from_delayed(delayed(_in_order)(columns, order), (search.n_rows, n_voxels), dtype)


def _named(packed: Any, betas: xr.DataArray, rows: FeatureRows, search: Search) -> xr.Dataset:
    found = xr.Dataset(coords=voxel_coordinates(betas))
    n_features, n_bands = len(rows.bands), len(rows.names)
    found["coef"] = ((FEATURE, VOXEL), packed[:n_features])
    if rows.labels is not None:
        found = found.assign_coords({FEATURE: rows.labels})
    found["intercept"] = (VOXEL, packed[n_features])
    if n_bands == 1:
        found["alpha"] = (VOXEL, packed[n_features + 1])
    else:
        found["alpha"] = ((BAND, VOXEL), packed[n_features + 1 : -2])
        names = np.array(rows.names, dtype=object)
        found = found.assign_coords({BAND: names, "feature_band": (FEATURE, names[rows.bands])})
    found["r"], found["r2"] = (VOXEL, packed[-2]), (VOXEL, packed[-1])
    return found
