"""What to gather from each block of a volume, and gathering it: arithmetic on picks, apart from files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from laion_xr.readers.base import AnyArray, IntArray, as_dtype
from laion_xr.readers.nifti_header import NiftiHeader


class Window(NamedTuple):
    """A stretch of a volume's bytes and what to gather from it."""

    start: int  # bytes from the beginning of the volume
    size: int  # bytes
    row: slice  # where in the gathered row
    local: IntArray  # items, from `start`


def plan_windows(ordered: IntArray, header: NiftiHeader, block: int) -> list[Window]:
    """Return the stretches of a volume that hold the picked items, in order, each within one aligned block.

    Parameters
    ----------
    ordered
        Picked items of a volume as the file numbers them, strictly increasing.
    header
        The file's header.
    block
        Bytes of a block.

    Returns
    -------
    The windows: a block without a picked item has none, and each is trimmed to its first and last item.
    """
    itemsize = header.dtype.itemsize
    per_block = max(block // itemsize, 1)
    edges = np.arange(0, math.prod(header.grid) + per_block, per_block)
    cuts = np.searchsorted(ordered, edges)
    windows = []
    for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if b > a:
            first, last = int(ordered[a]), int(ordered[b - 1])
            local = (ordered[a:b] - first).astype(np.intp)
            windows.append(Window(first * itemsize, (last - first + 1) * itemsize, slice(a, b), local))
    return windows


def gather_rows(
    blocks: Iterator[bytes | memoryview],
    windows: list[Window],
    header: NiftiHeader,
    restore: IntArray | None,
    out: AnyArray,
    targets: IntArray,
    name: str,
) -> None:
    """Gather the picked voxels of each volume into its row of the result.

    Parameters
    ----------
    blocks
        The bytes of every window of the first volume, of the second, and so on; each is done with when the next is
        asked for.
    windows
        What to gather from each.
    header
        The file's header.
    restore
        Positions in the gathered row that make the result's row; None where they are the same.
    out
        The result, `(trial, voxel)`; written.
    targets
        Its row for each volume.
    name
        Full address of the file, for messages.
    """
    # gathered as stored; only the picked values have their bytes swapped
    stored = header.dtype.newbyteorder("=")
    swap = not header.dtype.isnative
    in_place = restore is None and stored == out.dtype and not header.is_scaled
    row = np.empty(windows[-1].row.stop, stored)
    for target in targets.tolist():
        if in_place:
            row = out[target]
        for window in windows:
            # wrap: the only mode that neither buffers nor checks; take releases the GIL
            np.take(np.frombuffer(next(blocks), stored), window.local, out=row[window.row], mode="wrap")
        if swap:
            row.byteswap(inplace=True)
        if not in_place:
            values = as_dtype(header.scale(row), out.dtype, name)
            if restore is None:
                out[target] = values
            else:
                np.take(values, restore, out=out[target], mode="wrap")


def destinations(rows: IntArray) -> tuple[IntArray, IntArray, list[tuple[int, int]]]:
    """Return the distinct trials in file order, the row of the result for each, and (row, origin) of repeats."""
    order = np.argsort(rows, kind="stable")
    in_order = rows[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = in_order[1:] != in_order[:-1]
    targets = order[new]
    origins = targets[np.cumsum(new) - 1]
    copies = list(zip(order[~new].tolist(), origins[~new].tolist(), strict=True))
    return in_order[new], targets, copies
