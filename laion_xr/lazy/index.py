"""One xarray index over the label coordinates of a dimension, which aligns by the dimension's ids.

xarray accepts several indexes on one dimension when they agree; this one answers `join`, `reindex_like` and `equals`
from the ids exactly as the plain index of the dimension does, and `.sel` from the labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from xarray.core.indexing import IndexSelResult

from laion_xr.errors import SelectionError
from laion_xr.labels import MISSING, Labels, MatchContext
from laion_xr.lazy.roinames import roi_variable
from laion_xr.lazy.variable import LabelVariable

Ids = npt.NDArray[np.integer]


class LabelIndex(xr.Index):
    """Index over several label coordinates of one dimension.

    Parameters
    ----------
    dim
        The dimension.
    ids
        Its ids (the values of its plain index), `(dim,)`.
    labels
        Coordinate name -> its labels.
    context
        What matching needs besides the labels: the ROI categories.
    """

    def __init__(self, dim: str, ids: Ids, labels: Mapping[str, Labels], context: MatchContext) -> None:
        self.dim, self.ids, self.labels, self.context = dim, np.asarray(ids), dict(labels), context

    def _with(self, ids: Ids, labels: Mapping[str, Labels], dim: str | None = None) -> Self:
        return type(self)(dim or self.dim, ids, labels, self.context)

    def _pick(self, pick: Any) -> Self:
        return self._with(self.ids[pick], {name: labels.pick(pick) for name, labels in self.labels.items()})

    @classmethod
    def from_variables(cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]) -> Self:
        """Make the index of 1-D coordinates that share a dimension.

        Options: `ids`, `categories`, `subject`, and `known` labels.
        """
        dims = {variable.dims for variable in variables.values()}
        if len(dims) != 1 or len(next(iter(dims))) != 1:
            raise SelectionError(f"A label index is over coordinates of one dimension; {list(variables)} have {dims}.")
        dim = str(next(iter(dims))[0])
        size = next(iter(variables.values())).sizes[dim]
        ids = options.get("ids")
        missing = any(MISSING in variable.attrs for variable in variables.values())
        context = MatchContext(options.get("categories") or {}, missing, options.get("subject") or "")
        labels = {str(name): Labels.of(variable.values) for name, variable in variables.items()}
        for name, known in (options.get("known") or {}).items():
            # labels that no position has any more
            more = np.asarray(known, dtype=object)
            labels[name] = Labels.of(np.concatenate([labels[name].values(), more])).pick(slice(size))
        return cls(dim, np.arange(size) if ids is None else np.asarray(ids), labels, context)

    def create_variables(self, variables: Mapping[Any, xr.Variable] | None = None) -> dict[Hashable, xr.Variable]:
        """Return the coordinates, with the attributes of those given."""
        old, found = variables or {}, dict[Hashable, xr.Variable]()
        for name, labels in self.labels.items():
            attrs = old[name].attrs if name in old else None
            if name == "roi":
                found[name] = roi_variable(self.dim, labels.values(), self.context.categories, attrs)
            else:
                found[name] = LabelVariable((self.dim,), labels.values(), attrs)
        return found

    def sel(self, labels: dict[Any, Any], method: Any = None, tolerance: Any = None) -> IndexSelResult:
        """Return the positions at which every query holds.

        Raises
        ------
        UnknownLabelError
            A label that does not exist; the message names the closest ones.
        SelectionError
            `method` or `tolerance`, or a query that means nothing here.
        """
        if method is not None or tolerance is not None:
            raise SelectionError(
                f"Labels {sorted(map(str, labels))} are matched exactly: method and tolerance do not apply; "
                "select numbers with a slice (inclusive)."
            )
        keep = np.ones(len(self.ids), dtype=bool)
        for name, query in labels.items():
            keep &= self.match(str(name), query)
        return IndexSelResult({self.dim: np.flatnonzero(keep)})

    def match(self, name: str, query: object) -> npt.NDArray[np.bool_]:
        """Return which positions a query of one label names, `(dim,)` bool."""
        return self.labels[name].match(name, query, self.context)

    def isel(self, indexers: Mapping[Any, Any]) -> Self | None:
        """Return the index of a selection by position; None where the dimension goes."""
        pick = indexers.get(self.dim, slice(None))
        if isinstance(pick, xr.Variable):
            if pick.dims != (self.dim,):
                return None
            pick = pick.values
        if np.ndim(pick) == 0 and not isinstance(pick, slice):
            return None
        return self._pick(pick)

    def equals(self, other: xr.Index, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """Whether the ids are the same, as for the plain index of the dimension, and of the same subject."""
        return (
            isinstance(other, LabelIndex)
            and self.dim == other.dim
            and list(self.labels) == list(other.labels)
            and not self._is_of_another(other)
            and (self.ids is other.ids or np.array_equal(self.ids, other.ids))
        )

    def join(self, other: Self, how: Any = "inner") -> Self:
        """Return the index of the joined ids; labels from whichever side has them.

        Raises
        ------
        SelectionError
            The other is of another subject.
        """
        self._check_same_subject(other)
        ours, theirs = pd.Index(self.ids), pd.Index(other.ids)
        ids = ours.join(theirs, how=how)
        here, there = ours.get_indexer(ids), theirs.get_indexer(ids)
        labels = {name: labels.where(here, other.labels[name], there) for name, labels in self.labels.items()}
        return self._with(ids.to_numpy(), labels)

    def reindex_like(self, other: Self, method: Any = None, tolerance: Any = None) -> dict[Hashable, Any]:
        """Return the positions of the other index's ids, -1 where they are not here.

        Raises
        ------
        SelectionError
            The other is of another subject.
        """
        self._check_same_subject(other)
        return {self.dim: pd.Index(self.ids).get_indexer(pd.Index(other.ids))}

    @classmethod
    def concat(cls, indexes: Sequence[Self], dim: Hashable, positions: Iterable[Iterable[int]] | None = None) -> Self:
        """Return the index of the pieces one after the other, or at the given positions."""
        first = indexes[0]
        for index in indexes[1:]:
            first._check_same_subject(index)
        whole = first._with(
            np.concatenate([index.ids for index in indexes]),
            {name: Labels.concat([index.labels[name] for index in indexes]) for name in first.labels},
        )
        if positions is None:
            return whole
        return whole._pick(np.argsort(np.concatenate([np.asarray(list(p)) for p in positions]), kind="stable"))

    def _is_of_another(self, other: LabelIndex) -> bool:
        ours, theirs = self.context.subject, other.context.subject
        return bool(ours and theirs and ours != theirs)

    def _check_same_subject(self, other: LabelIndex) -> None:
        if self._is_of_another(other):
            raise SelectionError(
                f"Expected {self.dim}s of {self.context.subject}, found those of {other.context.subject}: the same "
                f"number is another {self.dim} there. Join subjects by image (open_datatree, then "
                "tree.laion.shared()), or take the .values of one to go by position."
            )

    def rename(self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]) -> Self:
        """Return the index under other names."""
        labels = {str(name_dict.get(name, name)): labels for name, labels in self.labels.items()}
        return self._with(self.ids, labels, str(dims_dict.get(self.dim, self.dim)))

    def roll(self, shifts: Mapping[Any, int]) -> Self:
        """Return the index shifted around."""
        return self._pick(np.roll(np.arange(len(self.ids)), shifts.get(self.dim, 0)))

    def _copy(self, deep: bool = True, memo: dict[int, Any] | None = None) -> Self:
        return self._with(self.ids, self.labels)  # arrays are never written to

    def to_pandas_index(self) -> pd.Index[Any]:
        """Return the ids: map_blocks and combine_by_coords ask for one."""
        return pd.Index(self.ids, name=self.dim)

    def __repr__(self) -> str:
        # xarray prints it when one label is dropped or replaced: say the way out
        names = list(self.labels)
        return (
            f"LabelIndex over {names} (to change or drop one of them: ds.drop_indexes({names}) first, "
            "ds.laion.index_labels() after)"
        )

    def _repr_inline_(self, max_width: int) -> str:
        return f"LabelIndex (dim={self.dim!r})"[:max_width]
