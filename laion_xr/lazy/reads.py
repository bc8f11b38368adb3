"""The lazy reads that an array stands on, whatever was computed of them since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import dask.array as da

from laion_xr.lazy.array import ReadPlan, plan_of
from laion_xr.lazy.items import ItemPlan
from laion_xr.readers.base import IntArray, Reader


class Task(NamedTuple):
    """What one task reads: trials and voxels of some readers, of which it makes so many bytes."""

    reads: Sequence[tuple[Reader, IntArray | slice, IntArray]]
    result_bytes: int


def plans_of(array: object) -> tuple[list[ReadPlan | ItemPlan], bool]:
    """Return the plans of the reads below an array, and whether the array is such a read itself.

    Of an array that was computed from reads they are the whole of each, also where a part would be enough.
    """
    if not isinstance(array, da.Array):
        return [], False
    if (own := plan_of(array)) is not None:
        return [own], True
    found: dict[int, ReadPlan | ItemPlan] = {}
    for layer in array.dask.layers.values():
        plan = getattr(layer, "plan", None)
        if isinstance(plan, (ReadPlan, ItemPlan)):
            found[id(plan)] = plan  # one that is put in order after reading has two layers
    top = getattr(array.dask.layers.get(array.name), "plan", None)
    return list(found.values()), isinstance(top, ItemPlan)


def tasks_of(plan: ReadPlan) -> Iterator[Task]:
    """Yield what each task of a plan reads, as `planned_array` makes them."""
    itemsize = plan.readers[0].dtype.itemsize
    if not len(plan.voxels) or not plan.n_trials:
        return
    if (blocks := plan.blocks) is not None:
        for voxels in blocks:
            reads = [(reader, trials, voxels.ids) for reader, trials, _ in plan.sessions()]
            yield Task(reads, plan.n_trials * len(voxels) * itemsize)
        return
    for reader, trials, n in plan.parts()[0]:
        yield Task([(reader, trials, plan.voxels.ids)], n * len(plan.voxels) * itemsize)
