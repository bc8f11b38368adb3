"""Features of the images -> a matrix with a row for every row of the betas; images -> folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.analysis.moments import ALWAYS_TRAIN, IntArray
from laion_xr.analysis.stimuli import embeddings
from laion_xr.analysis.streaming import betas_variable
from laion_xr.errors import (
    LaionXRError,
    SelectionError,
    StimuliNotDownloadedError,
    UnknownLabelError,
    describe_names,
    did_you_mean,
)
from laion_xr.schema import TRIAL, VOXEL

STIMULUS = "stimulus"
ROW_DIMS = (TRIAL, STIMULUS)
FEATURE, BAND = "feature", "band"

FeatureSpace = xr.DataArray | str
Features = FeatureSpace | Mapping[str, FeatureSpace]


class FeatureRows(NamedTuple):
    """Features of every row of the betas.

    Attributes
    ----------
    values
        float (row, feature), NumPy or Dask.
    bands
        Position of each feature's band in `names`, int (feature,).
    names
        Of the bands.
    labels
        Of the features, or None where they have none; (feature,).
    """

    values: Any
    bands: IntArray
    names: list[str]
    labels: npt.NDArray[Any] | None


def betas_of(obj: xr.Dataset | xr.DataArray, purpose: str) -> tuple[xr.DataArray, str]:
    """Return the betas, as (row, voxel), and the name of their row dim: `trial`, or `stimulus` where averaged.

    Raises
    ------
    SelectionError
        There are none, or they have other dims.
    """
    obj = betas_variable(obj, purpose)
    rows = [dim for dim in ROW_DIMS if dim in obj.dims]
    if obj.ndim != 2 or len(rows) != 1 or VOXEL not in obj.dims:
        raise SelectionError(
            f"{purpose} needs betas with the dims 'trial' (or 'stimulus') and 'voxel', found {obj.dims}: select with "
            "a list, roi=[...], to keep a dim of length 1."
        )
    if obj.dims != (rows[0], VOXEL):
        obj = obj.transpose(rows[0], VOXEL)
    return obj, rows[0]


def feature_rows(obj: xr.Dataset | xr.DataArray, betas: xr.DataArray, row: str, features: Features) -> FeatureRows:
    """Return the features as a matrix whose rows are those of the betas.

    Raises
    ------
    SelectionError
        Features without a dim that says whose they are, or not numbers.
    UnknownLabelError
        A name of features that are not there, or a row of the betas that has none.
    """
    spaces = dict(features) if isinstance(features, Mapping) else {"features": features}
    if not spaces:
        raise SelectionError("Expected one feature space or more, found an empty mapping.")
    arrays = {name: matched_rows(_resolve(obj, space), betas, row) for name, space in spaces.items()}
    sizes = [array.shape[1] for array in arrays.values()]
    if 0 in sizes:
        raise SelectionError(
            f"Expected one feature or more in each space, found {dict(zip(arrays, sizes, strict=True))}."
        )
    bands = np.repeat(np.arange(len(sizes)), sizes)
    labels = [a.coords[a.dims[1]].values for a in arrays.values() if a.dims[1] in a.coords]
    values = [a.data for a in arrays.values()]
    if len(values) == 1:
        joined = values[0]
    else:
        joined = (da if any(isinstance(v, da.Array) for v in values) else np).concatenate(values, axis=1)
    complete = len(labels) == len(arrays) and len({label.dtype.kind for label in labels}) == 1
    return FeatureRows(joined, bands, list(spaces), np.concatenate(labels) if complete else None)


def _resolve(obj: xr.Dataset | xr.DataArray, features: FeatureSpace) -> xr.DataArray:
    if isinstance(features, xr.DataArray):
        return features
    if not isinstance(features, str):
        raise SelectionError(
            f"Features are a DataArray (trial or stimulus, feature), a name, or a mapping of these, found "
            f"{type(features).__name__}: xr.DataArray(values, dims=('stimulus', 'feature'), coords={{...}})."
        )
    known = [str(n) for n in obj.variables] if isinstance(obj, xr.Dataset) else [str(n) for n in obj.coords]
    for name in (f"embedding_{features}", features):
        if name in known:
            return obj[name]
    try:
        found: xr.DataArray = embeddings(obj, features)
        return found
    except StimuliNotDownloadedError:
        raise
    except LaionXRError as error:
        there = [n.removeprefix("embedding_") for n in known if n.startswith("embedding_")]
        message = did_you_mean("Embedding model or variable", features, [*there, *known])
        raise UnknownLabelError(
            f"{message} Embeddings come with open_dataset(..., embeddings=[{features!r}]), or are found in the root: "
            f"{error}"
        ) from None


def matched_rows(features: xr.DataArray, betas: xr.Dataset | xr.DataArray, row: str) -> xr.DataArray:
    """Return features (trial or stimulus, feature) as (row, feature), a row for each row of the betas.

    Raises
    ------
    SelectionError
        Features with other dims, without the coordinate that they are matched by, or not numbers.
    UnknownLabelError
        A row of the betas that has none.
    """
    whose = [dim for dim in ROW_DIMS if dim in features.dims]
    if len(whose) != 1 or features.ndim > 2 or (whose == [TRIAL] and row == STIMULUS):
        found = dict(zip(features.dims, features.shape, strict=True))
        wanted = "'trial' or 'stimulus'" if row == TRIAL else "'stimulus', as the betas are"
        raise SelectionError(f"Expected features with the dims {wanted} and one of features, found {found}.")
    if features.dtype.kind not in "fiub":
        raise SelectionError(f"Expected features that are numbers, found {features.dtype}: code them first.")
    (dim,) = whose
    if features.ndim == 1:
        features = features.expand_dims(FEATURE)
    features = features.transpose(dim, ...)
    if dim == TRIAL and (TRIAL not in features.coords or TRIAL not in betas.coords):
        if features.sizes[TRIAL] != betas.sizes[TRIAL]:
            raise SelectionError(
                f"Expected features of {betas.sizes[TRIAL]} trials, found {features.sizes[TRIAL]}: give them the "
                "coordinate trial, and they are matched."
            )
        return features
    for name, array in (("The features", features), ("The betas", betas)):
        if dim not in array.coords:
            raise SelectionError(f"{name} need the coordinate {dim!r}, by which images are matched; it is not there.")
    labels = betas.coords[dim].values
    known = pd.Index(features.coords[dim].values)
    if not known.is_unique:
        raise SelectionError(
            f"Expected one row of features for each {dim}, found {known[known.duplicated()][0]!r} more than once."
        )
    where = known.get_indexer(pd.Index(labels))
    if (where < 0).any():
        lost = list(dict.fromkeys(labels[where < 0].tolist()))
        raise UnknownLabelError(
            f"Expected features for every {dim} of the betas, found none for {len(lost)} of {len(set(labels))}: "
            f"{describe_names(lost, 3)}. Select the betas that have features, or give features with these names."
        )
    return features if np.array_equal(where, np.arange(len(known))) else features.isel({dim: where})


def row_groups(betas: xr.DataArray, row: str, groups: Any, name: str = "groups") -> IntArray:
    """Return which rows belong together, int (row,), numbered as they appear.

    `groups` is a coordinate's name or an array (row,); None for the images, or the rows where they are not known.

    Raises
    ------
    SelectionError
        No such coordinate, or another length.
    """
    if groups is None:
        groups = STIMULUS if STIMULUS in betas.coords else np.arange(betas.sizes[row])
    if isinstance(groups, str):
        if groups not in betas.coords or betas.coords[groups].dims != (row,):
            there = [str(n) for n, c in betas.coords.items() if c.dims == (row,)]
            raise SelectionError(f"{name}: {did_you_mean('Coordinate', groups, there)}")
        groups = betas.coords[groups]
    values = np.asarray(groups)
    if values.shape != (betas.sizes[row],):
        raise SelectionError(f"Expected {name} of {betas.sizes[row]} rows ({row}), found shape {values.shape}.")
    return np.asarray(pd.factorize(values, use_na_sentinel=False)[0])


def fold_of_rows(groups: IntArray, cv: Any, seed: int) -> tuple[IntArray, int]:
    """Return the fold of every row and the number of folds; no group is in two.

    Parameters
    ----------
    groups
        As `row_groups` numbers them, int (row,).
    cv
        A number of folds, of groups shuffled by `seed`; or the fold of every row, int (row,), negative where a row is
        always in the training set; or a splitter of scikit-learn.
    seed
        Of the shuffle.

    Raises
    ------
    SelectionError
        Fewer groups than folds, a group in two folds, rows in two test sets, or folds that mean nothing.
    """
    if hasattr(cv, "split") and not isinstance(cv, (str, np.ndarray, xr.DataArray)):
        folds = np.full(len(groups), ALWAYS_TRAIN)
        for k, (_, test) in enumerate(cv.split(np.zeros((len(groups), 1)), None, groups)):
            if (folds[test] != ALWAYS_TRAIN).any():
                raise SelectionError(f"Expected test sets that do not overlap, found rows in two of those of {cv!r}.")
            folds[test] = k
    elif isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        n_groups = int(groups.max()) + 1 if len(groups) else 0
        if cv < 2 or n_groups < cv:
            raise SelectionError(
                f"Expected 2 folds or more and at least as many images, found cv={cv} and {n_groups} images: choose "
                "another cv, or more trials."
            )
        folds = (np.random.default_rng(seed).permutation(n_groups) % cv)[groups]
    else:
        folds = np.asarray(cv)
        if folds.shape != groups.shape or folds.dtype.kind not in "iu":
            raise SelectionError(
                f"cv is a number of folds, the fold of each of the {len(groups)} rows as integers, or a splitter; "
                f"found {type(cv).__name__} of {folds.dtype}, shape {folds.shape}."
            )
        folds = np.where(folds < 0, ALWAYS_TRAIN, folds)
        used, codes = np.unique(folds[folds >= 0], return_inverse=True)
        folds[folds >= 0] = codes
        if len(used) < 2:
            raise SelectionError(f"Expected 2 folds or more, found {len(used)}.")
    pairs = np.unique(np.stack([groups, folds]), axis=1)
    if pairs.shape[1] > len(np.unique(groups)):
        raise SelectionError(
            "Expected every image in one fold, found an image whose trials are in two (a test of the memory of noise): "
            "assign folds to images, or say what belongs together with groups=."
        )
    return folds, int(folds.max()) + 1
