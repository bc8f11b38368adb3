"""Arrays to `.npy` files in parts, in bounded memory, and back as lazy arrays."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from laion_xr.errors import FileFormatError, SelectionError, StoreError
from laion_xr.lazy.array import ReadPlan, plan_of, planned_array
from laion_xr.lazy.budget import decode_budget

AnyArray = npt.NDArray[Any]
# Of the parts that are in memory at once, of what reads may take: results of reads stand beside the reads
SHARE_OF_BUDGET = 0.5
# Of a block of an array that is read back
BLOCK_BYTES = 128 << 20


@dataclass(frozen=True)
class NpyFile:
    """An array in a `.npy` file: parts are read from it and written into it, also by other processes.

    Attributes
    ----------
    path
        Of the file.
    shape, dtype
        Of the array.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> NpyFile:
        """Make a file of zeros, as large as the array.

        Raises
        ------
        StoreError
            The disk has no room for it.
        """
        np.lib.format.open_memmap(path, "w+", dtype=np.dtype(dtype), shape=shape).flush()
        size = path.stat().st_size
        try:
            # a full disk is an error now: writing into a map of a file that has no room kills the process
            if hasattr(os, "posix_fallocate"):
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise StoreError(
                    f"There is no room for {path.name}, {size / 1e9:.1f} GB, in {path.parent}: free some, or "
                    "select less."
                ) from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        return cls(str(path), shape, np.dtype(dtype))

    @classmethod
    def open(cls, path: Path) -> NpyFile:
        """Open a file that is there.

        Raises
        ------
        FileFormatError
            It is no `.npy` file, or shorter than its header says.
        """
        try:
            found = np.lib.format.open_memmap(path, "r")
        except FileNotFoundError:
            raise FileFormatError(f"Expected the file {path}, which is not there: copy the folder again.") from None
        except (ValueError, EOFError, OSError) as error:
            raise FileFormatError(f"Expected an array in {path}, as numpy.save writes it: {error}.") from error
        return cls(str(path), found.shape, found.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> AnyArray:
        """Read a part."""
        # a map for each part: its pages leave this process's memory with it
        return np.array(np.lib.format.open_memmap(self.path, "r")[key])

    def __setitem__(self, key: Any, values: AnyArray) -> None:
        """Write a part."""
        array = np.lib.format.open_memmap(self.path, "r+")
        array[key] = values
        array.flush()


def write_npy(path: Path, data: Any) -> NpyFile:
    """Write an array to a `.npy` file, part by part: see `fill`."""
    target = NpyFile.create(path, data.shape, data.dtype)
    fill(target, data)
    return target


def fill(target: NpyFile, data: Any) -> None:
    """Write an array into its file, part by part: each session, or block, is read once.

    Parts of a lazy read of the package are computed together as far as they fit into half of the budget of reads
    (`decode_budget`); blocks of other Dask arrays a thread at a time, as Dask does.

    Parameters
    ----------
    data
        NumPy or Dask; numbers, or fixed-width text.
    """
    if not data.size:
        return
    if not isinstance(data, da.Array):
        target[...] = data
        return
    parts = planned_parts(data)
    if parts is None:
        da.store(data, target, lock=False)  # type: ignore[arg-type]
        return
    for rows, columns, values in computed(parts):
        target[rows, columns] = values


Part = tuple[Any, slice, da.Array]  # rows, columns, what belongs there


def planned_parts(data: da.Array) -> list[Part] | None:
    """Return the parts of a lazy read, each a task that reads what no other does; None for other arrays."""
    plan = plan_of(data)
    if plan is None or not all(plan.kept):
        return None
    if plan.blocks is not None:
        stops = np.cumsum(data.chunks[1]).tolist()
        starts = [0, *stops[:-1]]
        return [
            (slice(None), slice(a, b), data.blocks[0, j])
            for j, (a, b) in enumerate(zip(starts, stops, strict=True))
            if b > a
        ]
    # rows in any order: each session is read once, and its rows go where they belong
    found: list[Part] = []
    for reader, positions, rows in plan.sessions():
        trials = np.arange(reader.shape[0])[positions]
        found.append((rows, slice(None), planned_array(ReadPlan((reader,), plan.voxels, trials, name=plan.name))))
    return found


def computed(parts: list[Part]) -> Iterator[tuple[Any, slice, AnyArray]]:
    """Compute parts, several at once as far as memory allows."""
    room = int(decode_budget().total * SHARE_OF_BUDGET)
    group: list[Part] = []
    for part in [*parts, None]:
        if group and (part is None or sum(p.nbytes for *_, p in group) + part[2].nbytes > room):
            values = list(da.compute(*(array for *_, array in group)))
            for rows, columns, _ in group:
                yield rows, columns, values.pop(0)
            group = []
        if part is not None:
            group.append(part)


def lazy_npy(file: NpyFile, token: str) -> da.Array:
    """Return an array in a file as a lazy one, in blocks of rows."""
    n_rows = max(BLOCK_BYTES // max(file.dtype.itemsize * int(np.prod(file.shape[1:])), 1), 1)
    chunks: Any = (n_rows, *(-1 for _ in file.shape[1:])) if file.ndim else ()
    size = os.stat(file.path)
    name = hashlib.sha256(repr((file.path, token, size.st_mtime_ns, size.st_size)).encode()).hexdigest()
    meta = np.empty((0,) * file.ndim, file.dtype)
    array: da.Array = da.from_array(file, chunks=chunks, name=f"npy-{name}", meta=meta)
    return array


def storable(values: Any, name: str) -> Any:
    """Return an array that `.npy` takes without pickling: text in a fixed width.

    Raises
    ------
    SelectionError
        Objects that are not text.
    """
    if values.dtype.kind in "biufcMmUS":
        return values
    # of zarr, text is a StringDType, which has no width
    array = np.asarray(values).astype(object)
    found = next((item for item in array.ravel().tolist() if not isinstance(item, str)), None)
    if found is not None or any(item is None for item in array.ravel()):
        raise SelectionError(
            f"Expected numbers or text in {name!r}, found {found!r} ({type(found).__name__}): make it text, as with "
            f".fillna(''), or leave it out with .drop_vars({name!r})."
        )
    text = array.astype(str)
    if (text != array).any():
        raise SelectionError(f"Text in {name!r} ends in the character NUL, which fixed-width text does not keep.")
    return text
