"""The splits of the published loader, by their names: image names, and masks over trials.

Their files are found as `laion_xr.access.splits` finds them: the folder of `LAION_XR_SPLITS_DIR`, the installed
published loader, the cache, one download.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from reprlib import repr as short
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.access.splits import FAMILIES, OOD, POOLS, find_split, parse_split
from laion_xr.analysis.splits_pools import OOD_TYPES, known_ood_types, ood_type
from laion_xr.compat.arguments import listed
from laion_xr.errors import SelectionError, describe_names, unknown_label

__all__ = [
    "Split",
    "SplitVariant",
    "get_split_masks",
    "get_train_test_ids",
    "list_ood_types",
    "list_pools",
    "list_splits",
    "load_all_splits",
    "load_split",
]

# in the order of the published loader
_NAMES = (*FAMILIES["random"], *FAMILIES["cluster_k5"], "tau", OOD)

Types = str | Iterable[str] | None


@dataclass
class SplitVariant:
    """The image names of both sides of a split."""

    variant_id: int
    train_ids: list[str]
    test_ids: list[str]

    def all_ids(self) -> list[str]:
        """Return the names of both sides, training first."""
        return [*self.train_ids, *self.test_ids]


@dataclass
class Split:
    """A split of a pool: how it was made, and its variants (one)."""

    name: str
    pool: str
    splitter: str
    params: dict[str, Any]
    n_train: int
    n_test: int
    variants: list[SplitVariant] = field(default_factory=list)

    @property
    def split_family(self) -> str:
        """`"random"`, `"cluster_k5"`, `"tau"`, `"ood"`, or `"other"`."""
        family = next((name for name, members in FAMILIES.items() if self.name in members), self.name)
        return family if family in (*FAMILIES, "tau", OOD) else "other"


def list_pools() -> list[str]:
    """Return the names of the pools: `"shared"` and the subjects."""
    return list(POOLS)


def list_splits() -> list[str]:
    """Return the names of the twelve splits that every pool has."""
    return list(_NAMES)


def list_ood_types() -> list[str]:
    """Return the nine types of out-of-distribution images."""
    return sorted(OOD_TYPES)


def load_split(name: str, pool: str) -> Split:
    """Return a split.

    Parameters
    ----------
    name
        One of `list_splits()`.
    pool
        One of `list_pools()`.

    Raises
    ------
    UnknownLabelError
        No such split or pool (a `ValueError`).
    SplitsNotAvailableError
        Its file is not on this machine and cannot be downloaded (a `FileNotFoundError`).
    """
    if name not in _NAMES:
        raise unknown_label("Split", name, _NAMES)
    if pool not in POOLS:
        raise unknown_label("Pool", pool, POOLS)
    path = find_split(name, pool)
    data = path.read_bytes()
    sides = parse_split(data, name, pool, str(path))
    content = json.loads(data)
    variant = SplitVariant(int(content["variants"][0].get("variant_id", 0)), list(sides.train), list(sides.test))
    return Split(
        name=name,
        pool=pool,
        splitter=str(content.get("splitter", "")),
        params=dict(content.get("params") or {}),
        n_train=len(sides.train),
        n_test=len(sides.test),
        variants=[variant],
    )


def load_all_splits(pool: str) -> dict[str, Split]:
    """Return every split of a pool, by name."""
    return {name: load_split(name, pool) for name in _NAMES}


def get_train_test_ids(
    name: str, pool: str, variant_id: int = 0, ood_types: Types = None
) -> tuple[list[str], list[str]]:
    """Return the image names of both sides of a split, training first.

    Parameters
    ----------
    name, pool
        See `load_split`.
    variant_id
        0: there is one variant.
    ood_types
        Of `"ood"`: keep images of these types on the test side.

    Raises
    ------
    ValueError
        No such split, pool, variant or type; `ood_types` with another split.

    Examples
    --------
    >>> train, test = get_train_test_ids("tau", pool="shared")  # doctest: +SKIP
    >>> len(train), len(test)  # doctest: +SKIP
    (897, 224)
    """
    split = load_split(name, pool)
    found = next((v for v in split.variants if v.variant_id == variant_id), None)
    if found is None:
        there = ", ".join(str(v.variant_id) for v in split.variants)
        raise SelectionError(f"The split {name!r} of the pool {pool!r} has no variant {variant_id!r}: it has {there}.")
    if ood_types is None:
        return found.train_ids, found.test_ids
    types = known_ood_types(ood_types)
    if name != OOD:
        raise SelectionError(f"ood_types is only valid for the split {OOD!r}, and the split is {name!r}.")
    return found.train_ids, [image for image in found.test_ids if ood_type(image) in types]


def get_split_masks(
    trials: Any, name: str, pool: str, variant_id: int = 0, ood_types: Types = None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which trials are on the training and on the test side of a split, `(trial,)` bool each.

    Parameters
    ----------
    trials
        A table with the column `label`, or the labels: a Series, an array, a list.
    name, pool, variant_id, ood_types
        See `get_train_test_ids`.

    Raises
    ------
    SelectionError
        `trials` is neither (a `ValueError`): a table without the column, an array of two dimensions, a dict.
    ValueError
        As `get_train_test_ids`.

    Examples
    --------
    >>> train, test = get_split_masks(sub.metadata, "tau", pool="shared")  # doctest: +SKIP
    """
    sides = get_train_test_ids(name, pool, variant_id, ood_types)
    series = pd.Series(_labels(trials), dtype=object)
    train, test = (series.isin(images).to_numpy(dtype=bool) for images in sides)
    return train, test


def _labels(trials: Any) -> list[Any]:
    """Return the label of each trial; None or NaN where it has none."""
    given = trials
    if isinstance(trials, pd.DataFrame):
        if "label" not in trials:
            raise SelectionError(
                "Expected a table of trials with a column 'label' (the images' file names), found the columns "
                f"{describe_names(trials.columns)}; of another column give that alone, as in trials['image_name']."
            )
        given = trials["label"]
    # a set has no order that trials could be in
    labels = None if isinstance(given, (set, frozenset)) else listed(given)
    wrong = [] if labels is None else [label for label in labels if not isinstance(label, str) and not _missing(label)]
    if labels is None or wrong:
        raise SelectionError(
            "Expected a table with a column 'label', or one image name a trial (a Series, an array of one dimension, a "
            f"list): found {short(wrong[0]) if wrong else short(given)}, a "
            f"{type(wrong[0] if wrong else given).__name__}."
        )
    return labels


def _missing(label: Any) -> bool:
    return label is None or label is pd.NA or (isinstance(label, float) and math.isnan(label))
