"""Train and test sides by image: the published splits, and the user's own.

An image is on one side with all its trials. Selecting is lazy, and what is selected is what will be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.access.splits import SHARED_POOL
from laion_xr.analysis.splits_pools import ImageAxis, image_names, in_pool
from laion_xr.analysis.splits_published import Folder, images_here, pool_here
from laion_xr.errors import SelectionError, SplitLeakageError, describe_names

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)
BoolArray = npt.NDArray[np.bool_]


def split_masks(
    obj: xr.Dataset | xr.DataArray,
    name: str | None = None,
    *,
    train: Any = None,
    test: Any = None,
    pool: str | int | None = None,
    ood_types: str | Iterable[str] | None = None,
    images: Any = None,
    splits_dir: Folder = None,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return which trials are on the train and on the test side; arguments and errors are those of `split`.

    Returns
    -------
    tuple of DataArray
        Boolean, `(trial,)`, or `(stimulus,)` after repeats were averaged, with that dim's coordinate.
    """
    axis = ImageAxis.of(obj)
    by_name = name is not None
    if by_name == (train is not None or test is not None):
        raise SelectionError(
            "A split is given by its name, or by train= and test= (one of them may be left out); found "
            f"{f'the name {name!r} and a side' if by_name else 'neither'}."
        )
    chosen = None if pool is None and not by_name else pool_here(obj, SHARED_POOL if pool is None else pool, splits_dir)
    if name is not None:
        found = images_here(axis, name, str(chosen), images, ood_types, splits_dir)
        sides = axis.showing(found.train), axis.showing(found.test)
        title = f"split {name!r} of pool {chosen!r} ({len(found.train)} train and {len(found.test)} test images)"
    else:
        if ood_types is not None or images is not None or splits_dir is not None:
            raise SelectionError(
                "ood_types, images and splits_dir go with the name of a split, not with train= or test=."
            )
        sides = _own(obj, axis, train, test, chosen)
        title = "split"
    check_sides(axis, *sides, title)
    train_side, test_side = (on_axis(obj, axis, side) for side in sides)
    return train_side, test_side


def split(
    obj: XarrayT,
    name: str | None = None,
    *,
    train: Any = None,
    test: Any = None,
    pool: str | int | None = None,
    ood_types: str | Iterable[str] | None = None,
    images: Any = None,
    splits_dir: Folder = None,
) -> tuple[XarrayT, XarrayT]:
    """Return the train and the test side; lazy, each reads only its own trials.

    Every trial of an image is on the image's side, repeats too. Trials of images in neither side are left out: of OOD
    images in any split but `"ood"`, and of unique images in the pool `"shared"`. A Dataset with some of the sessions
    gives the trials that are there.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `stimulus` on the dim `trial`, or on `stimulus` (repeats averaged).
    name
        A published split, or a file of the user's folder: see `split_images`.
    train, test
        The user's own split in place of a name: each a list of image names (trials of images that are not here are no
        error), or a boolean mask `(trial,)`, taken as it is. One may be left out: it is then the other images of the
        pool.
    pool
        `"shared"` or a subject. A named split: `"shared"` if left out. `train=` and `test=`: both are narrowed to the
        pool; left out, they are not, and a side that is left out has all other images but the OOD ones.
    ood_types
        Types of OOD images on the test side of `"ood"`.
    images
        All image names (the Dataset of the stimuli, say), for `random_*`. Left out: the images here if they are the
        whole pool, else the published file.
    splits_dir
        Folder of split files; else `LAION_XR_SPLITS_DIR`, the installed published loader, one download.

    Returns
    -------
    tuple
        `(train, test)`, of the kind that was given.

    Raises
    ------
    SplitLeakageError
        An image is on both sides.
    SelectionError
        No coordinate `stimulus`, a side without a trial here, a pool of another subject, arguments that contradict
        each other, or a mask of another shape.
    UnknownLabelError
        No split, pool or OOD type has the name.
    SplitsNotAvailableError, CorruptFileError, FileFormatError
        The split's file is nowhere to be found, or not what it should be.

    Examples
    --------
    >>> train, test = ds.laion.split("tau", pool="shared")  # doctest: +SKIP
    >>> train, test = ds.laion.split(test=ds.stimulus.values[:10])  # doctest: +SKIP
    """
    masks = split_masks(
        obj, name, train=train, test=test, pool=pool, ood_types=ood_types, images=images, splits_dir=splits_dir
    )
    train_side, test_side = (take(obj, mask.values, str(mask.dims[0])) for mask in masks)
    return train_side, test_side


def take(obj: XarrayT, side: BoolArray, dim: str) -> XarrayT:
    """Return the positions of one side; lazy."""
    return obj.isel({dim: np.flatnonzero(side)})


def on_axis(obj: xr.Dataset | xr.DataArray, axis: ImageAxis, side: BoolArray) -> xr.DataArray:
    """Return a mask as an array with the dim's coordinate."""
    coords = {axis.dim: obj.coords[axis.dim].variable} if axis.dim in obj.coords else {}
    return xr.DataArray(side, dims=(axis.dim,), coords=coords)


def check_sides(axis: ImageAxis, train: BoolArray, test: BoolArray, title: str) -> None:
    """Raise where an image is on both sides, or a side has no trial.

    Raises
    ------
    SplitLeakageError
        With some of the images.
    SelectionError
        With the side.
    """
    both = np.intersect1d(axis.codes[train], axis.codes[test])
    if len(both):
        names = [axis.names[code] or "(no name)" for code in both]
        raise SplitLeakageError(
            f"The {title} has {len(names)} images in both train and test: {describe_names(sorted(names), 3)}; put "
            "every trial of an image on one side."
        )
    for side, chosen in (("train", train), ("test", test)):
        if not chosen.any():
            raise SelectionError(
                f"The {title} has no {side} {axis.dim} here: none of its {side} images is among the {len(axis.names)} "
                f"images of the {len(axis.codes)} {axis.dim}s; open more sessions, or choose another split or pool."
            )


def _own(
    obj: xr.Dataset | xr.DataArray, axis: ImageAxis, train: Any, test: Any, pool: str | None
) -> tuple[BoolArray, BoolArray]:
    given = {
        side: _positions(obj, axis, value, side)
        for side, value in (("train", train), ("test", test))
        if value is not None
    }
    inside = axis.where(in_pool(name, pool) for name in axis.names)
    if pool is not None:
        given = {side: chosen & inside for side, chosen in given.items()}
    if len(given) == 1:
        (side, chosen), *_ = given.items()
        rest = inside & ~np.isin(axis.codes, axis.codes[chosen])
        given["test" if side == "train" else "train"] = rest
    elif not any(_is_mask(side) for side in (train, test)) and (both := {*image_names(train)} & {*image_names(test)}):
        raise SplitLeakageError(
            f"train= and test= both name {len(both)} images: {describe_names(sorted(both), 3)}; leave them out of one."
        )
    return given["train"], given["test"]


def _is_mask(side: Any) -> bool:
    if isinstance(side, (xr.Dataset, xr.DataArray)):  # lazy betas are told from a mask without reading them
        return isinstance(side, xr.DataArray) and side.dtype == bool
    if isinstance(side, (np.ndarray, pd.Series)):
        return bool(side.dtype == bool)
    return isinstance(side, (list, tuple)) and bool(side) and all(isinstance(value, bool | np.bool_) for value in side)


def _positions(obj: xr.Dataset | xr.DataArray, axis: ImageAxis, side: Any, name: str) -> BoolArray:
    if not _is_mask(side):
        return axis.showing(image_names(side))
    mask = np.asarray(side)
    if mask.shape != axis.codes.shape:
        raise SelectionError(
            f"Expected {name}= as a boolean mask of {len(axis.codes)} values along {axis.dim}, found shape "
            f"{mask.shape}."
        )
    if isinstance(side, xr.DataArray) and axis.dim in side.coords and axis.dim in obj.coords:
        here, there = obj.coords[axis.dim].values, side.coords[axis.dim].values
        if not np.array_equal(here, there):
            raise SelectionError(
                f"The mask {name}= is of another Dataset: its coordinate {axis.dim!r} is not the one here (first "
                f"{there[:1].tolist()}, here {here[:1].tolist()}); make it from this one."
            )
    return mask.astype(bool)
