"""Folds: the published families of splits, and splitters by session, run, image and features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.access.splits import FAMILIES
from laion_xr.analysis.splits import BoolArray, XarrayT, check_sides, split, take
from laion_xr.analysis.splits_pools import STIMULUS, ImageAxis, image_names, in_pool
from laion_xr.analysis.splits_published import Folder, pool_here
from laion_xr.errors import SelectionError, SplitLeakageError, describe_names, missing_extra, unknown_label
from laion_xr.readers.base import IntArray

SPLITTERS = ("session", "run", "images", "features")
FOLDS = 5
Overlap = Literal["error", "train", "test"]


def splits(
    obj: XarrayT,
    by: str,
    *,
    pool: str | int | None = None,
    k: int | None = None,
    seed: int = 0,
    features: str | xr.DataArray | None = None,
    overlap: Overlap = "error",
    images: Any = None,
    splits_dir: Folder = None,
) -> Iterator[tuple[XarrayT, XarrayT]]:
    """Return the folds of a family of splits, one after the other: pairs `(train, test)` as `split` gives them.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `stimulus` on the dim `trial`, or on `stimulus` (repeats averaged).
    by
        - `"cluster_k5"`, `"random"`: the five published splits of the family.
        - `"session"`, `"run"`: each fold holds out some sessions, or runs of a session.
        - `"images"`: each fold holds out a share of the images, drawn with the seed.
        - `"features"`: each fold holds out one k-means cluster of the images' features (scikit-learn's, extra
          `cluster`; ten starts; features as they are).
    pool
        `"shared"` or a subject. Left out: `"shared"` for the published families, else every image but the OOD ones.
    k
        Number of folds. Left out: 5 for images and features, one a session or run for those.
    seed
        For what is drawn: the order of images, sessions or runs, the starts of k-means.
    features
        For `"features"`: a model's name (the Dataset has its `embedding_{model}`), another variable's name, or a
        DataArray of two dims, one of them with the coordinate `stimulus`. Only the rows of the images at hand are read.
    overlap
        For `"session"` and `"run"`, where an image may be shown on both sides: `"error"`; `"train"` keeps it in train
        only, `"test"` in test only, and its trials on the other side are left out.
    images
        All image names, so that folds of `"random"`, `"images"` and `"features"` do not depend on the sessions here.
    splits_dir
        Folder of split files, as in `split`.

    Yields
    ------
    tuple
        `(train, test)`, lazy. Over all folds of `"images"` and `"features"` each image is in test once.

    Raises
    ------
    UnknownLabelError
        Nothing splits by that.
    SelectionError
        An argument that does not go with `by`, more folds than there is to divide, a missing coordinate, features
        that lack an image or have NaN for one, or a fold with an empty side here.
    SplitLeakageError
        An image on both sides.
    MissingExtraError
        scikit-learn is not installed.

    Examples
    --------
    >>> for train, test in ds.laion.splits("images", k=5, seed=1):  # doctest: +SKIP
    ...     ...
    """
    if by not in (*FAMILIES, *SPLITTERS):
        raise unknown_label("A way to split by", by, [*FAMILIES, *SPLITTERS])
    takes = {
        "k": k is None or by in SPLITTERS,
        "features": (features is None) == (by != "features"),
        "overlap": overlap == "error" or by in ("session", "run"),
        "images": images is None or by not in ("session", "run"),
        "splits_dir": splits_dir is None or by in FAMILIES,
    }
    if wrong := [name for name, fits in takes.items() if not fits]:
        need = "needs features=" if wrong == ["features"] and features is None else f"does not take {', '.join(wrong)}"
        raise SelectionError(f"splits({by!r}) {need}.")
    if by in FAMILIES:
        options = {"pool": pool, "images": images, "splits_dir": splits_dir}
        return (split(obj, name, **options) for name in FAMILIES[by])
    axis = ImageAxis.of(obj)
    chosen = None if pool is None else pool_here(obj, pool)
    inside = axis.where(in_pool(name, chosen) for name in axis.names)
    if by in ("session", "run"):
        sides = _by_label(obj, axis, inside, by, k, seed, overlap)
    else:
        known = axis.names if images is None else image_names(images)
        names = sorted({name for name in known if in_pool(name, chosen)})
        count = _count(FOLDS if k is None else k, len(names), "images of the pool")
        if by == "features":
            held_out = _clusters(names, _features_of(obj, features, names), count, seed)
        else:
            held_out = _parts(names, count, seed)
        masks = [axis.showing(part) for part in held_out]
        sides = [(inside & axis.showing(names) & ~mask, mask) for mask in masks]
    for number, (train, test) in enumerate(sides):
        check_sides(axis, train, test, f"fold {number} of splits({by!r})")
    return ((take(obj, train, axis.dim), take(obj, test, axis.dim)) for train, test in sides)


def _count(k: object, available: int, what: str) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 2:
        raise SelectionError(f"k is a whole number of folds, 2 or more, found {k!r}.")
    if k > available:
        raise SelectionError(
            f"k = {k} folds are more than there is to divide: {available} {what} here; give a smaller k."
        )
    return int(k)


def _parts(names: list[str], k: int, seed: int) -> list[list[str]]:
    order = np.random.default_rng(seed).permutation(len(names))
    return [[names[i] for i in part] for part in np.array_split(order, k)]


def _by_label(
    obj: xr.Dataset | xr.DataArray,
    axis: ImageAxis,
    inside: BoolArray,
    by: str,
    k: int | None,
    seed: int,
    overlap: str,
) -> list[tuple[BoolArray, BoolArray]]:
    if overlap not in ("error", "train", "test"):
        raise SelectionError(f"overlap is 'error', 'train' or 'test', found {overlap!r}.")
    labels = ["session"] if by == "session" else ["session", "run"]  # a run's number starts again in each session
    missing = [name for name in labels if name not in obj.coords or obj.coords[name].dims != (axis.dim,)]
    if missing:
        raise SelectionError(
            f"splits({by!r}) needs the coordinates {describe_names(labels)} on {axis.dim!r}; not there: "
            f"{describe_names(missing)}. Split before averaging over repeats."
        )
    table = pd.DataFrame({name: obj.coords[name].values for name in labels})
    codes = table.groupby(labels, sort=False).ngroup().to_numpy()
    groups = pd.unique(codes[inside])
    count = _count(len(groups) if k is None else k, len(groups), f"{by}s")
    order = groups if k is None else np.random.default_rng(seed).permutation(groups)
    sides = []
    for part in np.array_split(order, count):
        held_out = np.isin(codes, part)
        train, test = inside & ~held_out, inside & held_out
        both = np.intersect1d(axis.codes[train], axis.codes[test])
        if len(both) and overlap == "error":
            raise SplitLeakageError(
                f"{len(both)} images are shown both in the {by}s held out and in others, as "
                f"{axis.names[both[0]]!r}: say with overlap='train' or 'test' which side keeps them."
            )
        if overlap == "train":
            test &= ~np.isin(axis.codes, both)
        else:
            train &= ~np.isin(axis.codes, both)
        sides.append((train, test))
    return sides


def _features_of(
    obj: xr.Dataset | xr.DataArray, features: str | xr.DataArray | None, names: list[str]
) -> npt.NDArray[np.float64]:
    array, title = _feature_array(obj, features)
    row_dim = array.coords[STIMULUS].dims[0]
    index = pd.Index(np.asarray(array.coords[STIMULUS].values, dtype=object))
    first = ~np.asarray(index.duplicated())  # by trial: repeats have the same row
    rows: IntArray = index[first].get_indexer(pd.Index(names, dtype=object))
    lacking = [name for name, row in zip(names, rows, strict=True) if row < 0]
    if lacking:
        raise SelectionError(
            f"{title} lack {len(lacking)} of the {len(names)} images to split: {describe_names(lacking, 3)}; give "
            "features with a row for each image name, or a narrower pool."
        )
    chosen = array.transpose(row_dim, ...).isel({row_dim: np.flatnonzero(first)[rows]})
    values = np.asarray(chosen.values, dtype=np.float64)
    bad = [name for name, row in zip(names, values, strict=True) if not np.isfinite(row).all()]
    if bad:
        raise SelectionError(
            f"{title} are not finite for {len(bad)} of the {len(names)} images to split: {describe_names(bad, 3)}; "
            "leave those images out first (ds.isel, or images=)."
        )
    return values


def _feature_array(obj: xr.Dataset | xr.DataArray, features: str | xr.DataArray | None) -> tuple[xr.DataArray, str]:
    title = "The features"
    if isinstance(features, str):
        there = [str(name) for name in obj.data_vars] if isinstance(obj, xr.Dataset) else []
        found = [name for name in (f"embedding_{features}", features) if name in there]
        if not found:
            raise SelectionError(
                f"There is no variable 'embedding_{features}' or {features!r} here (there are: {describe_names(there)}"
                "): open with embeddings=, or give features as a DataArray."
            )
        title, features = f"The features {found[0]!r}", obj[found[0]]
    if (
        not isinstance(features, xr.DataArray)
        or features.ndim != 2
        or STIMULUS not in features.coords
        or features.coords[STIMULUS].ndim != 1
        or features.dtype.kind not in "iuf"
    ):
        what = (
            f"dims {features.dims}, dtype {features.dtype}, coordinates {describe_names(features.coords)}"
            if isinstance(features, xr.DataArray)
            else type(features).__name__
        )
        raise SelectionError(
            f"{title} are to be a DataArray of numbers with two dims, one of them with the coordinate 'stimulus' (the "
            f"images' names); found {what}."
        )
    return features, title


def _clusters(names: list[str], values: npt.NDArray[np.float64], k: int, seed: int) -> list[list[str]]:
    try:
        from sklearn.cluster import KMeans  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("scikit-learn", "cluster", "Splitting by features") from error
    distinct = len(np.unique(values, axis=0))
    if distinct < k:
        raise SelectionError(f"k = {k} clusters of {distinct} distinct features are not possible; give a smaller k.")
    labels = KMeans(k, n_init=10, random_state=seed).fit_predict(values)
    return [[name for name, label in zip(names, labels, strict=True) if label == fold] for fold in range(k)]
