"""The Variable that hands a selection on to the plan of its array, instead of slicing after the read."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from laion_xr.errors import ReadCostWarning
from laion_xr.lazy.array import ReadPlan, plan_of, planned_array
from laion_xr.lazy.items import item_plan_of


class LazyVariable(xr.Variable):
    """An `xarray.Variable` whose selections re-plan a lazy read.

    It is used for plain coordinates too, as `open_dataset(chunks={})` would turn them into Dask arrays.
    """

    __slots__ = ()

    @property
    def data(self) -> Any:
        """The array: Dask for what is read lazily, NumPy otherwise."""
        return super().data

    @data.setter
    def data(self, value: Any) -> None:
        # open_dataset wraps each array of a backend in its cache, which hides that it is Dask already
        while isinstance(value, indexing.ExplicitlyIndexed) and hasattr(value, "array"):
            value = value.array
        xr.Variable.data.fset(self, value)  # type: ignore[attr-defined]

    def __getitem__(self, key: Any) -> LazyVariable:
        """Select; outer selections of a planned array become a new plan."""
        plan, items = plan_of(self._data), item_plan_of(self._data)
        if plan is None and items is None:
            return super().__getitem__(key)
        dims, indexer, new_order = self._broadcast_indexes(key)  # type: ignore[no-untyped-call]
        if new_order or not isinstance(indexer, (indexing.BasicIndexer, indexing.OuterIndexer)):
            return super().__getitem__(key)
        data = items.pick(indexer.tuple).array() if items else planned_array(plan.pick(indexer.tuple))  # type: ignore[union-attr]
        found: LazyVariable = self._finalize_indexing_result(dims, data)
        if "preferred_chunks" in found.encoding:  # they were those of the whole
            found.encoding = {k: v for k, v in found.encoding.items() if k != "preferred_chunks"}
        return found

    def chunk(self, chunks: Any = {}, *args: Any, **kwargs: Any) -> LazyVariable:  # noqa: B006 - xarray's signature
        """Rechunk; warns where a chunk is smaller than what one read decodes. Text in memory stays there."""
        if _is_of_sizes(chunks) and self.dtype == object and self.chunks is None:
            return self.copy(deep=False)  # as Dask, it would be written to a file with a warning, after a read
        plan = plan_of(self._data)
        block = _voxel_block(plan, chunks, self.dims)
        if plan is not None and block is not None:
            # rechunking would read every session whole and keep all of them until the first block is complete
            return self._replace(data=planned_array(plan.by_voxels(block)))
        items, step = item_plan_of(self._data), _item_step(chunks, self)
        if items is not None and items.kept and step is not None:
            # rechunking would put items of several reads together only after each of them
            return self._replace(data=replace(items, step=step).array())
        found = super().chunk(chunks, *args, **kwargs)
        by_rows = plan is not None and all(getattr(reader, "splits_trials", False) for reader in plan.readers)
        if plan is not None and plan.costs_whole_files and not by_rows and found.chunks is not None:
            _warn_of_split_reads(plan, self.data.chunks, found.chunks)
        return found


class LabelVariable(LazyVariable):
    """A coordinate of an index: it stays in memory, as xarray's own index variables do."""

    __slots__ = ()

    def chunk(self, chunks: Any = {}, *args: Any, **kwargs: Any) -> LabelVariable:  # noqa: B006 - xarray's signature
        """Return itself: groupby and comparisons on labels must not wait for a compute.

        With no sizes, or a tuple of them, it is chunked: so asks `map_blocks`, which wants everything in Dask.
        """
        return self.copy(deep=False) if _is_of_sizes(chunks) else super().chunk(chunks, *args, **kwargs)  # type: ignore[return-value]

    def __getitem__(self, key: Any) -> LabelVariable:
        """Select; of text that is made of a pandas index a single one stays an object, as in an array of objects."""
        found = super().__getitem__(key)
        assert isinstance(found, LabelVariable)
        if found.ndim or found.dtype == self.dtype:
            return found
        single = np.empty((), dtype=object)
        single[()] = found.values.item()
        return found._replace(data=single)

    def load(self, **kwargs: Any) -> LabelVariable:
        """Return itself where it is made of a pandas index: that is in memory, and finds ROIs (`RoiNames`)."""
        found = self if _is_index(self._data) else super().load(**kwargs)
        assert isinstance(found, LabelVariable)
        return found

    def to_base_variable(self) -> LabelVariable:
        """Return a copy: xarray asks for it where it loses the index, and plain variables lose `RoiNames`."""
        return self.copy(deep=False)


def _is_index(data: object) -> bool:
    return isinstance(data, indexing.PandasIndexingAdapter)


def _is_of_sizes(chunks: Any) -> bool:
    """Whether chunks are asked for as a person does: `{"trial": 100}`, not `{"trial": (100, 100, 26)}`."""
    sizes = list(chunks.values()) if isinstance(chunks, Mapping) else [chunks]
    return bool(sizes) and not any(isinstance(size, tuple) for size in sizes)


def _item_step(chunks: Any, variable: xr.Variable) -> int | None:
    """Return how many along the first dim a task is to read, whole in the other dims, where the chunks ask for that."""
    if not isinstance(chunks, Mapping) or not variable.dims:
        return None
    sizes = {dim: chunks[dim] for dim in variable.dims if dim in chunks}
    first = sizes.pop(variable.dims[0], None)
    if not isinstance(first, (int, np.integer)) or first == 0 or first < -1:
        return None
    if any(size not in (-1, variable.sizes[dim], (variable.sizes[dim],)) for dim, size in sizes.items()):
        return None
    return max(variable.sizes[variable.dims[0]], 1) if first < 0 else int(first)


def _voxel_block(plan: ReadPlan | None, chunks: Any, dims: tuple[Hashable, ...]) -> int | None:
    """Return how many voxels a task is to read over all trials, where that is what the chunks ask for."""
    if plan is None or not all(plan.kept) or not plan.splits_voxels or not isinstance(chunks, Mapping):
        return None
    trial, voxel = (chunks.get(dim) for dim in dims)
    n_trials, n_voxels = plan.n_trials, len(plan.voxels)
    if trial not in (-1, n_trials, (n_trials,)) or not isinstance(voxel, (int, np.integer)) or voxel == 0:
        return None
    return max(n_voxels, 1) if voxel < 0 else int(voxel)


def _warn_of_split_reads(
    plan: ReadPlan, before: tuple[tuple[int, ...], ...], after: tuple[tuple[int, ...], ...]
) -> None:
    blocks = int(np.prod([len(c) for c in after]))
    reads = int(np.prod([len(c) for c in before]))
    split = any(set(np.cumsum(new)) - set(np.cumsum(old)) for old, new in zip(before, after, strict=True))
    if split and blocks >= 2 * reads:
        warnings.warn(
            f"These chunks split the reads of {reads} sessions into {blocks} blocks: each block still decodes the "
            "whole of its session's file, so that computing blocks one by one costs "
            f"about {blocks / reads:.0f} times the reading. Select first (.sel), or keep one chunk a session "
            "(chunks={} or None).",
            ReadCostWarning,
            stacklevel=4,
        )


def lazy_variable(
    dims: str | tuple[str, ...],
    data: Any,
    attrs: Mapping[str, Any] | None = None,
    encoding: Mapping[str, Any] | None = None,
) -> LazyVariable:
    """Return a `LazyVariable`.

    `open_dataset(chunks={})` keeps a Dask array's chunks, as they are its preferred ones.
    """
    found = LazyVariable(dims, data, attrs, encoding)
    if found.chunks:
        found.encoding.setdefault("preferred_chunks", dict(zip(found.dims, found.chunks, strict=True)))
    return found
