"""The published splits by name: which there are, and the images of both sides."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import xarray as xr

from laion_xr import layout
from laion_xr.access.splits import FAMILIES, OOD, SHARED_POOL, SplitImages, pool_names, read_split, split_names
from laion_xr.analysis.splits_pools import (
    ImageAxis,
    image_names,
    in_pool,
    known_ood_types,
    ood_split,
    ood_type,
    published_size,
    random_split,
)
from laion_xr.errors import SelectionError, SplitsNotAvailableError, unknown_label

Folder = str | os.PathLike[str] | None


def list_splits(pool: str | int = SHARED_POOL, *, splits_dir: Folder = None) -> list[str]:
    """Return the names of a pool's splits: the twelve published ones, then others of the user's folder.

    Raises
    ------
    UnknownLabelError
        No pool has the name.
    """
    return split_names(known_pool(pool, splits_dir), splits_dir)


def list_pools(*, splits_dir: Folder = None) -> list[str]:
    """Return the names of the pools: `"shared"`, the published subjects, then others of the user's folder."""
    return pool_names(splits_dir)


def split_images(
    name: str,
    pool: str | int = SHARED_POOL,
    *,
    images: Any = None,
    ood_types: str | Iterable[str] | None = None,
    splits_dir: Folder = None,
) -> SplitImages:
    """Return the image names of both sides of a published split.

    Parameters
    ----------
    name
        `"tau"`, `"cluster_k5_0"` ... `"cluster_k5_4"`, `"ood"`, `"random_0"` ... `"random_4"`, or another file of the
        user's folder.
    pool
        `"shared"` (the 1,121 shared images that are not OOD) or a subject (those and its 4,712 unique images).
    images
        Names of all images, of which the pool's are taken: a list, or anything with a coordinate `stimulus`. With
        them `random_*` and `ood` are computed by their recipes; without, they are read from their files too.
    ood_types
        Types of OOD images on the test side of `"ood"`; all for None.
    splits_dir
        Folder of split files, `{pool}/{name}.json`; else `LAION_XR_SPLITS_DIR`. What it lacks comes from the
        installed published loader, or by one download.

    Returns
    -------
    SplitImages
        `train` and `test`, tuples of names.

    Raises
    ------
    UnknownLabelError
        No split, pool or OOD type has the name.
    SelectionError
        `ood_types` with another split.
    SplitsNotAvailableError
        The file is not on this machine and cannot be downloaded.
    FileFormatError, SplitLeakageError
        The file is not that of this split, or has an image on both sides.

    Notes
    -----
    The splits are those of the published loader (ViCCo-Group/LAION-fMRI, `laion_fmri/splits`): `tau` is matched in
    the distance to the nearest training image, each of `cluster_k5` holds out one cluster of CLIP features.

    Examples
    --------
    >>> train, test = split_images("random_0", images=[f"shared_4rep_LAION_{i}.jpg" for i in range(10)])
    >>> len(train), len(test)
    (8, 2)
    """
    return _split_images(name, known_pool(pool, splits_dir), images, ood_types, splits_dir)


def images_here(
    axis: ImageAxis, name: str, pool: str, images: Any, ood_types: str | Iterable[str] | None, splits_dir: Folder
) -> SplitImages:
    """Return the image names of both sides of a split for the images at hand; raises as `split_images`.

    `random_*` is computed where the whole pool is here or given, else read; `ood` needs the images here only.
    """
    if images is not None or name not in (OOD, *FAMILIES["random"]):
        return _split_images(name, pool, images, ood_types, splits_dir)
    if name == OOD:  # each image tells its side: the others need not be known
        return _split_images(name, pool, axis.names, ood_types, splits_dir)
    here, size = axis.of_pool(pool), published_size(pool)
    if len(here) == size:
        return _split_images(name, pool, here, ood_types, splits_dir)
    advice = (
        "give all of the pool's names as images= (the Dataset of the stimuli, say), or images=ds.stimulus to draw from "
        "the images here"
    )
    if size is None:
        raise SelectionError(
            f"Nothing is published of the pool {pool!r}, and a random split is drawn from it: {advice}."
        )
    try:
        found = _split_images(name, pool, None, ood_types, splits_dir)
    except SplitsNotAvailableError as error:
        raise SplitsNotAvailableError(
            f"The split {name!r} is drawn from all {size} images of the pool {pool!r}, and {len(here)} are here: "
            f"{advice}. Its file would do as well: {error}"
        ) from error
    published = len(set(here) & {*found.train, *found.test})
    if 2 * published < len(here):  # simulated, say: a few names may agree by chance
        raise SelectionError(
            f"Only {published} of the {len(here)} images of the pool {pool!r} here are published ones, and the split "
            f"{name!r} is drawn from those: {advice}."
        )
    return found


def known_pool(pool: object, splits_dir: Folder = None, more: Iterable[str] = ()) -> str:
    """Return the canonical name of a pool: a subject may be `3` or `"03"`.

    Raises
    ------
    UnknownLabelError
        No pool has the name.
    """
    known = list(dict.fromkeys([*pool_names(splits_dir), *more]))
    for name in (str(pool), layout.subject_name(str(pool))):
        if name in known:
            return name
    raise unknown_label("Pool", pool, known)


def pool_here(obj: xr.Dataset | xr.DataArray, pool: object, splits_dir: Folder = None) -> str:
    """Return the canonical name of a pool that fits an object.

    Raises
    ------
    UnknownLabelError
        No pool has the name.
    SelectionError
        It is that of another subject.
    """
    subject = obj.attrs.get("subject")
    name = known_pool(pool, splits_dir, [subject] if subject else [])
    if subject and name not in (SHARED_POOL, subject):
        raise SelectionError(
            f"The pool {name!r} holds the unique images of {name}, and this Dataset is of {subject}: expected the pool "
            f"{SHARED_POOL!r} or {subject!r}."
        )
    return name


def _split_images(
    name: str, pool: str, images: Any, ood_types: str | Iterable[str] | None, splits_dir: Folder
) -> SplitImages:
    if name not in (known := split_names(pool, splits_dir)):
        raise unknown_label("Split", name, known)
    if ood_types is not None and name != OOD:
        raise SelectionError(f"ood_types= narrows the test side of the split {OOD!r}, and the split is {name!r}.")
    types = known_ood_types(ood_types)
    if images is not None and name in (OOD, *FAMILIES["random"]):
        names = image_names(images)
        if name == OOD:
            return ood_split(names, pool, types)
        return random_split((image for image in names if in_pool(image, pool)), int(name.rpartition("_")[2]))
    found = read_split(name, pool, splits_dir)
    if ood_types is None:
        return found
    return SplitImages(found.train, tuple(image for image in found.test if ood_type(image) in types))
