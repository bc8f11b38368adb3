"""The labels of a dimension, and which positions a query of them names. numpy and pandas only.

Text is factorised: a query is answered on the distinct labels (a few hundred), not on the 270,000 positions. The
distinct labels of what was opened stay known after a selection, so that a label which exists and is not in the
selection gives no rows, while one that never existed is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout
from laion_xr.errors import SelectionError, describe_names, unknown_label
from laion_xr.rois import RoiQuery

BoolArray = npt.NDArray[np.bool_]
# attribute of the coordinate noise_ceiling whose map is not on disk
MISSING = "missing"
NO_CEILING = (
    "The noise ceilings here are NaN, as their map is not there: download it, or open with another noise_ceiling=; "
    "'laion-xr info ROOT' lists the missing files."
)


@dataclass(frozen=True)
class MatchContext:
    """What matching needs besides the labels.

    Attributes
    ----------
    categories
        ROI category -> names of its ROIs.
    no_ceiling
        The noise ceilings are NaN because their map is not there: to select by them is a mistake, not an empty answer.
    subject
        Whose trials or voxels these are: their numbers mean nothing in another subject. `""` where nobody knows.
    """

    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    no_ceiling: bool = False
    subject: str = ""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels `(position,)`: numbers as they are, text as codes into the distinct names.

    `known` are the distinct whole numbers, those that a selection has left behind included; None for other labels.
    """

    codes: npt.NDArray[np.generic]
    names: npt.NDArray[np.object_] | None = None
    known: npt.NDArray[np.generic] | None = None

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Self:
        """Return the labels of an array of text or numbers."""
        array = np.asarray(values)
        if array.dtype.kind in "iufb":
            return cls(array, known=np.unique(array) if array.dtype.kind in "iu" else None)
        codes, names = pd.factorize(array.astype(object), use_na_sentinel=False)
        return cls(codes.astype(np.int32), np.asarray(names, dtype=object))

    def values(self) -> npt.NDArray[np.generic]:
        """Return the labels themselves."""
        return self.codes if self.names is None else self.names[self.codes]

    def pick(self, pick: Any) -> Labels:
        """Return the labels at some positions; every distinct name stays known."""
        return Labels(self.codes[pick], self.names, self.known)

    def where(self, here: npt.NDArray[np.intp], other: Labels, there: npt.NDArray[np.intp]) -> Labels:
        """Return labels taken from `self[here]`, and from `other[there]` where `here` is -1."""
        return self._combine(other, lambda a, b: np.where(here >= 0, a[np.maximum(here, 0)], b[np.maximum(there, 0)]))

    @staticmethod
    def concat(pieces: Sequence[Labels]) -> Labels:
        """Return the labels of the pieces one after the other."""
        whole = pieces[0]
        for piece in pieces[1:]:
            whole = whole._combine(piece, lambda a, b: np.concatenate([a, b]))
        return whole

    def _combine(self, other: Labels, how: Callable[[Any, Any], Any]) -> Labels:
        if self.names is None or other.names is None:
            found = Labels.of(how(self.values(), other.values()))
            if self.known is None or other.known is None:
                return found
            return Labels(found.codes, known=np.union1d(self.known, other.known))
        if self.names is other.names:
            return Labels(how(self.codes, other.codes), self.names)
        index = pd.Index(self.names, dtype=object)
        names = index.append(pd.Index(other.names, dtype=object)).unique()
        theirs = names.get_indexer(pd.Index(other.names, dtype=object)).astype(np.int32)
        return Labels(how(self.codes, theirs[other.codes]), names.to_numpy(dtype=object))

    def match(self, name: str, query: object, context: MatchContext | None = None) -> BoolArray:
        """Return which positions a query names, `(position,)`.

        Parameters
        ----------
        name
            The coordinate; `"roi"` takes the ROI grammar.
        query
            A label, a list or array of labels (their union), an inclusive slice, or a boolean array of the positions.

        Raises
        ------
        UnknownLabelError
            A label that does not exist, with the closest ones.
        SelectionError
            A query that means nothing for this label.
        """
        if callable(values := getattr(query, "to_numpy", None)):  # DataArray, Variable, pandas
            query = values()
        if (mask := _mask(query)) is not None and mask.shape == self.codes.shape:
            return mask
        if name == "roi" and self.names is not None:
            if isinstance(query, np.ndarray):
                query = query.tolist()
            return self._spread(RoiQuery(self.names, (context or MatchContext()).categories).match(query))
        if isinstance(query, slice):
            return self._slice(name, query, context)
        items = _items(name, query)
        return self._numbers(name, items) if self.names is None else self._texts(name, items)

    def _spread(self, chosen: BoolArray) -> BoolArray:
        return np.asarray(chosen[np.asarray(self.codes, dtype=np.intp)])

    def _slice(self, name: str, query: slice, context: MatchContext | None) -> BoolArray:
        if query.step is not None:
            raise SelectionError(f"A slice of {name} labels takes no step, found {query!r}.")
        labels = self.codes if self.names is None else self.names.astype(str)
        keep = np.ones(len(labels), dtype=bool)
        try:
            if query.start is not None:
                keep &= np.asarray(labels >= query.start)
            if query.stop is not None:
                keep &= np.asarray(labels <= query.stop)
        except (TypeError, np.exceptions.DTypePromotionError):
            raise SelectionError(
                f"Expected a slice that compares with the labels of {name}, found {query!r}."
            ) from None
        if name == "noise_ceiling":
            if context is not None and context.no_ceiling:
                raise SelectionError(NO_CEILING)
            warn_of_fraction(query.start)
        return keep if self.names is None else self._spread(keep)

    def _numbers(self, name: str, items: list[object]) -> BoolArray:
        for item in items:
            if isinstance(item, (str, bytes)) or not np.isscalar(item):
                raise SelectionError(f"The labels of {name} are numbers, found {item!r} ({type(item).__name__}).")
        wanted = np.asarray(items) if items else np.empty(0, dtype=self.codes.dtype)
        unknown = wanted[~np.isin(wanted, self.codes if self.known is None else self.known)]
        if len(unknown):
            raise unknown_label(name, unknown[0].item(), self._known_numbers(unknown[0]))
        return np.isin(self.codes, wanted)

    def _known_numbers(self, item: Any) -> list[object]:
        there = np.unique(self.codes) if self.known is None else self.known
        there = there[there == there]  # without NaN
        if len(there) <= 20:
            return list(there.tolist())
        nearest = there[np.argsort(np.abs(there.astype(float) - float(item)))[:3]].tolist()
        return [f"{len(there)} values from {there[0]} to {there[-1]}; nearest: {nearest}; slice(low, high) for a range"]

    def _texts(self, name: str, items: list[object]) -> BoolArray:
        assert self.names is not None
        for item in items:
            if not isinstance(item, Hashable):
                raise SelectionError(f"The labels of {name} are text, found {item!r} ({type(item).__name__}).")
        wanted = np.empty(len(items), dtype=object)
        wanted[:] = items
        rows = pd.Index(self.names, dtype=object).get_indexer(pd.Index(wanted, dtype=object))
        for i in np.flatnonzero(rows < 0):
            # "1", 1 and "01" name a session as "ses-01" does
            item = items[i]
            short = layout.session_name(str(item)) if name == "session" and isinstance(item, (str, Integral)) else None
            where = np.flatnonzero(self.names == short)
            if not len(where):
                raise unknown_label(name, item, sorted(map(str, self.names)))
            rows[i] = where[0]
        chosen = np.zeros(len(self.names), dtype=bool)
        chosen[rows] = True
        return self._spread(chosen)


def warn_of_fraction(threshold: object) -> None:
    """Warn of a noise-ceiling threshold that looks like a fraction: ceilings are in percent."""
    if isinstance(threshold, (int, float, np.number)) and 0 < threshold <= 1:
        warnings.warn(
            f"Noise ceilings are in percent (0-100): a threshold of {threshold} keeps almost every voxel. "
            f"Did you mean {threshold * 100:g}?",
            UserWarning,
            stacklevel=3,
        )


def _mask(query: object) -> BoolArray | None:
    if isinstance(query, (slice, str)):
        return None
    try:
        mask = np.asarray(query)
    except ValueError:  # lists within lists of several lengths
        return None
    return mask if mask.dtype == bool else None


def _items(name: str, query: object) -> list[object]:
    if isinstance(query, np.ndarray):
        return [query.item()] if query.ndim == 0 else list(query.ravel().tolist())
    if isinstance(query, (str, bytes)) or not isinstance(query, Iterable):
        return [query]
    if isinstance(query, Mapping):
        raise SelectionError(
            f"Expected a label, a list of labels or a slice for {name}, found {describe_names([query])}."
        )
    return list(query)
