"""Which images a pool holds, and the two published splits that a recipe makes. Image names in, image names out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.access.splits import SHARED_POOL, SplitImages, participant_code
from laion_xr.errors import SelectionError, describe_names, unknown_label
from laion_xr.readers.base import IntArray
from laion_xr.schema import PARTICIPANT_CODES, TRIAL

STIMULUS = "stimulus"
OOD_TYPES = (
    "cropped",
    "gabor",
    "gaudy",
    "illusion-classic",
    "illusion-natural",
    "relations",
    "selfmade",
    "shape",
    "unusual",
)
TEST_SHARE = 0.2
N_SHARED, N_UNIQUE = 1121, 4712

# "shared_4rep_OOD_gabor_gabor-01-top-left.jpg"
_OOD = re.compile(r"shared_\d+rep_OOD_(?P<type>[^_]+)_")


def published_size(pool: str) -> int | None:
    """Return how many images the published pool has; None for a subject of whom nothing is published."""
    if pool == SHARED_POOL:
        return N_SHARED
    return N_SHARED + N_UNIQUE if pool in PARTICIPANT_CODES else None


def ood_type(image: str) -> str | None:
    """Return the type of an out-of-distribution image, None for any other image."""
    match = _OOD.match(image)
    return match["type"] if match else None


def in_pool(image: str, pool: str | None) -> bool:
    """Whether a pool holds an image, as the published names tell it.

    `"shared"`: shared images but the OOD ones. A subject: those and its unique images; the published code in the name
    (`_p04`) says whose they are, and for other subjects every unique image counts. None: any image but the OOD ones.
    """
    if pool is None:
        return image != "" and ood_type(image) is None
    if image.startswith("shared_"):
        return ood_type(image) is None
    if pool == SHARED_POOL or not image.startswith("unique_"):
        return False
    return participant_code(image) == PARTICIPANT_CODES.get(pool, participant_code(image))


def random_split(pool_images: Iterable[str], seed: int) -> SplitImages:
    """Return the published random split of a pool's images.

    The recipe (checked on all published pools): of the sorted names, `round(0.2 n)` drawn without replacement by
    `numpy.random.default_rng(seed)` are the test side. It needs all names of the pool: one more or less, and every
    draw changes.
    """
    names = np.array(sorted(set(pool_images)), dtype=object)
    drawn = np.random.default_rng(seed).choice(len(names), round(TEST_SHARE * len(names)), replace=False)
    test = np.zeros(len(names), dtype=bool)
    test[drawn] = True
    return SplitImages(tuple(names[~test]), tuple(names[test]))


def ood_split(images: Iterable[str], pool: str, ood_types: str | Iterable[str] | None = None) -> SplitImages:
    """Return the published OOD split: train = the pool, test = the OOD images, or some types of them.

    Raises
    ------
    UnknownLabelError
        A type that does not exist.
    """
    types = known_ood_types(ood_types)
    names = sorted(set(images))
    return SplitImages(
        tuple(name for name in names if in_pool(name, pool)), tuple(name for name in names if ood_type(name) in types)
    )


def known_ood_types(ood_types: str | Iterable[str] | None) -> set[str]:
    """Return the types as a set, all for None.

    Raises
    ------
    UnknownLabelError
        A type that does not exist.
    """
    if ood_types is None:
        return set(OOD_TYPES)
    types = [ood_types] if isinstance(ood_types, str) else list(ood_types)
    for name in types:
        if name not in OOD_TYPES:
            raise unknown_label("OOD type", name, OOD_TYPES)
    return set(types)


def image_names(images: Any) -> list[str]:
    """Return image names given as a list, an array, or anything of xarray with a coordinate `stimulus`.

    Raises
    ------
    SelectionError
        They are something else.
    """
    if isinstance(images, (xr.Dataset, xr.DataArray)) and STIMULUS in images.coords:
        images = images.coords[STIMULUS]
    # the cells of a table are not names, and the keys of a dict need not be
    if isinstance(images, (str, Mapping, pd.DataFrame)) or getattr(images, "ndim", 1) > 1:
        raise SelectionError(f"Expected a list of image names, found {type(images).__name__} {str(images)[:40]!r}.")
    if not hasattr(images, "__array__"):
        images = list(images) if isinstance(images, Iterable) else [images]
    values = np.asarray(images, dtype=object).ravel().tolist()
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong:
        raise SelectionError(
            f"Expected a list of image names (text, as in the coordinate {STIMULUS!r}), found {wrong[0]!r}."
        )
    return list(values)


@dataclass(frozen=True, eq=False)
class ImageAxis:
    """The images along the axis of a Dataset or array.

    Attributes
    ----------
    dim
        `trial`, or `stimulus` after repeats were averaged.
    codes
        Which of `names` each position shows, `(dim,)`.
    names
        The distinct image names; `""` where a trial has none.
    """

    dim: str
    codes: IntArray
    names: list[str]

    @classmethod
    def of(cls, obj: xr.Dataset | xr.DataArray) -> ImageAxis:
        """Return the axis of an object.

        Raises
        ------
        SelectionError
            There is no coordinate `stimulus` on the dim `trial` or `stimulus`.
        """
        coordinate = obj.coords.get(STIMULUS)
        if coordinate is None or coordinate.dims not in ((TRIAL,), (STIMULUS,)):
            raise SelectionError(
                f"A split needs the coordinate 'stimulus' (the images' names) on the dim 'trial' or 'stimulus'; found "
                f"dims {describe_names(obj.dims)} and coordinates {describe_names(obj.coords)}."
            )
        codes, names = pd.factorize(np.asarray(coordinate.values, dtype=object), use_na_sentinel=False)
        known = [str(name) if isinstance(name, str) else "" for name in names]
        return cls(str(coordinate.dims[0]), np.asarray(codes, dtype=np.intp), known)

    def where(self, chosen: npt.NDArray[np.bool_] | Iterable[bool]) -> npt.NDArray[np.bool_]:
        """Return for each position whether its image is chosen: one boolean a name in, `(dim,)` out."""
        return np.fromiter(chosen, dtype=bool, count=len(self.names))[self.codes]

    def showing(self, images: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return for each position whether it shows one of the images, `(dim,)`."""
        wanted = set(images)
        return self.where(name in wanted for name in self.names)

    def of_pool(self, pool: str | None) -> list[str]:
        """Return the images here that a pool holds, sorted."""
        return sorted({name for name in self.names if in_pool(name, pool)})

    def shown(self, positions: npt.NDArray[np.bool_]) -> list[str]:
        """Return the distinct images at some positions, sorted."""
        return sorted({self.names[code] for code in np.unique(self.codes[positions])})
