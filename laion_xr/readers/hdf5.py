"""Reads arrays of HDF5 files: `betasmd` of a GLMsingle model file as betas, any other array as it is.

Reading goes chunk by chunk, so that memory stays bounded and only chunks that are touched are read. A file is
opened for each call: no handle is kept between calls, threads or processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import h5py
import numpy as np
import numpy.typing as npt

from laion_xr.errors import CorruptFileError, FileFormatError, LaionXRError, describe_names
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import AnyArray, IntArray, as_dtype, checked_pick, result_array, trial_positions
from laion_xr.readers.chunks import trial_groups, voxel_runs
from laion_xr.readers.pointers import raise_if_pointer
from laion_xr.readers.rows import RowMap, held_rows, resolve_rows
from laion_xr.readers.volumes import Grid, read_mask_ids

# What is read at a time; a chunk that is larger is read whole.
BLOCK_BYTES = 8 << 20
BETAS = "betasmd"
SIGNATURE = b"\x89HDF\r\n\x1a\n"


class ArrayInfo(NamedTuple):
    """An array of an HDF5 file; a scalar has shape (), text has dtype object."""

    name: str  # with its groups: "group/array"
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    chunks: tuple[int, ...] | None  # None where it is not chunked


@contextmanager
def opened_hdf5(location: Location, entry: FileEntry) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading while a `with` block runs.

    Raises
    ------
    CorruptFileError
        The file is truncated, or an array in it cannot be read.
    FileFormatError
        The file is not HDF5, or a git-LFS or git-annex pointer.
    """
    name = location.show(entry.path)
    with ExitStack() as stack:
        raw = stack.enter_context(location.open(entry.path, entry.size))
        head = raw.read(512)
        raise_if_pointer(head, name)
        if not head:
            raise CorruptFileError(f"{name} is empty (0 bytes): download it again.")
        raw.seek(0)
        try:
            # the library's own driver is several times faster than a Python file object
            source: Any = location.at(entry.path) if location.is_local else raw
            yield stack.enter_context(h5py.File(source, "r"))
        except LaionXRError:
            raise
        except (OSError, RuntimeError) as error:
            if not head.startswith(SIGNATURE):
                raise FileFormatError(
                    f"{name} is not an HDF5 file: it begins with {head[:16]!r}. Download it again."
                ) from None
            raise CorruptFileError(f"{name} is truncated or damaged: {error}. Download it again.") from None


def list_arrays(location: Location, entry: FileEntry) -> list[ArrayInfo]:
    """Return every array of a file, those in groups included, in the order of their names."""
    found: list[ArrayInfo] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(_info(name, item))

    with opened_hdf5(location, entry) as file:
        file.visititems(visit)
    return sorted(found)


@dataclass(frozen=True, init=False)
class Hdf5Reader:
    """`betasmd` of a session's model file as a matrix `(trial, grid voxel)`.

    Parameters
    ----------
    location
        The root.
    entry
        The model file.
    grid
        Shape of the functional grid.
    n_trials
        Expected number of trials; None: as many as the file has.
    anatomical, rsquare
        The files of the two masks: one of them may say which voxel a row is. They are read when they are needed, so
        that the reader stays small. None for one that is not there.
    dtype
        Type of what `read` returns.
    dataset
        Name of the array.
    """

    location: Location
    entry: FileEntry
    grid: Grid
    n_trials: int | None
    anatomical: FileEntry | None
    rsquare: FileEntry | None
    dtype: np.dtype[np.generic]
    dataset: str

    def __init__(
        self,
        location: Location,
        entry: FileEntry,
        grid: Grid,
        n_trials: int | None,
        anatomical: FileEntry | None = None,
        rsquare: FileEntry | None = None,
        dtype: npt.DTypeLike = np.float32,
        dataset: str = BETAS,
    ) -> None:
        x, y, z = (int(n) for n in grid)
        for field, value in {
            "location": location,
            "entry": FileEntry(*entry),
            "grid": (x, y, z),
            "n_trials": None if n_trials is None else int(n_trials),
            "anatomical": anatomical,
            "rsquare": rsquare,
            "dtype": np.dtype(dtype),
            "dataset": dataset,
        }.items():
            object.__setattr__(self, field, value)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of trials, number of voxels of the grid. Opens the file where `n_trials` is None."""
        n_trials = self.n_trials
        if n_trials is None:
            with opened_hdf5(self.location, self.entry) as file:
                n_trials = int(self._betas(file).shape[-1])
        return n_trials, math.prod(self.grid)

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        masks = tuple(tuple(mask) if mask is not None else None for mask in (self.anatomical, self.rsquare))
        said = (self.dataset, self.grid, self.n_trials, self.dtype.str)
        return ("hdf5", self.location.url, *self.entry, *said, *masks)

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked trials of the picked voxels.

        Parameters
        ----------
        trials
            Positions in the file: a slice, or integers in any order, repeats allowed.
        voxels
            C-order flat grid indices in any order, repeats allowed. One that the file has no row for was
            not modelled: NaN.
        out
            The array to fill, of the result's shape and type; None for a new one.

        Returns
        -------
        `(len(trials), len(voxels))` of `dtype`.

        Raises
        ------
        CorruptFileError
            The file is truncated or damaged.
        FileFormatError
            There is no such array, or its shape does not say which voxel a row is.
        """
        n_trials, n_voxels = self.shape
        rows = checked_pick(trial_positions(trials, n_trials), n_trials, "trial")
        picked = checked_pick(voxels, n_voxels, "voxel")
        out = result_array((len(rows), len(picked)), self.dtype, out)
        if not out.size:
            return out
        with opened_hdf5(self.location, self.entry) as file:
            betas = self._betas(file)
            row_map = self._row_map(betas.shape)
            columns, inside = held_rows(picked, row_map.ids)
            out[...] = np.nan if self.dtype.kind == "f" else -1
            if len(columns):
                _read_picks(betas, rows, columns, inside, out)
        return out

    def _betas(self, file: h5py.File) -> h5py.Dataset:
        betas = file.get(self.dataset)
        if not isinstance(betas, h5py.Dataset):
            raise FileFormatError(
                f"{self.location.show(self.entry.path)} has no array {self.dataset!r}: found {describe_names(file)}."
            )
        return betas

    def _row_map(self, shape: tuple[int, ...]) -> RowMap:
        ids: list[IntArray | None] = [None, None]
        if len(shape) == 2 and shape[0] != math.prod(self.grid):
            ids = [
                None if mask is None else read_mask_ids(self.location, mask, self.grid)
                for mask in (self.anatomical, self.rsquare)
            ]
        name = f"{self.dataset} of {self.location.show(self.entry.path)}"
        return resolve_rows(shape, self.grid, ids[0], ids[1], self.n_trials, name)


@dataclass(frozen=True)
class Hdf5ArraySource:
    """Any array of an HDF5 file: picklable, opened for each read."""

    location: Location
    entry: FileEntry
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @classmethod
    def of(cls, location: Location, entry: FileEntry, info: ArrayInfo) -> Hdf5ArraySource:
        """Return the source of an array that `list_arrays` found."""
        return cls(location, entry, info.name, info.shape, info.dtype)

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        return ("hdf5-array", self.location.url, *self.entry, self.name, self.shape, self.dtype.str)

    def read(self, key: tuple[slice, ...] = ()) -> AnyArray:
        """Return a part of the array.

        Parameters
        ----------
        key
            A slice for each axis, with a positive step; () for all of it, and for a scalar.

        Returns
        -------
        The values; text is decoded to `str` (dtype object).
        """
        with opened_hdf5(self.location, self.entry) as file:
            dataset = file.get(self.name)
            if not isinstance(dataset, h5py.Dataset):
                raise FileFormatError(f"{self.location.show(self.entry.path)} has no array {self.name!r}.")
            if math.prod(_shape(dataset)) == 0:
                return np.empty(self.shape, self.dtype)[key]
            values = np.asarray(dataset[key])
            return _text(values) if _is_text(dataset) else values


def _info(name: str, dataset: h5py.Dataset) -> ArrayInfo:
    dtype = np.dtype(object) if _is_text(dataset) else np.dtype(dataset.dtype)
    return ArrayInfo(name, _shape(dataset), dtype, dataset.chunks)


def _shape(dataset: h5py.Dataset) -> tuple[int, ...]:
    shape = cast(tuple[int, ...] | None, dataset.shape)
    return (0,) if shape is None else tuple(int(n) for n in shape)  # None: HDF5's null dataspace, which has no values


def _is_text(dataset: h5py.Dataset) -> bool:
    return cast(object, h5py.h5t.check_string_dtype(dataset.dtype)) is not None


def _text(values: AnyArray) -> AnyArray:
    decoded = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.ravel().tolist()]
    return np.array(decoded, dtype=object).reshape(values.shape)


def _read_picks(betas: h5py.Dataset, trials: IntArray, rows: IntArray, columns: IntArray, out: AnyArray) -> None:
    """Fill `out[:, columns]` with the rows of the file (flat over its voxel axes) and the trials."""
    axes = betas.shape[:-1]
    chunks = betas.chunks or (*(1,) * (len(axes) - 1), 1, betas.shape[-1])
    at = np.unravel_index(rows, axes)
    order = np.lexsort([a // c for a, c in zip(at[::-1], chunks[-2::-1], strict=True)])
    at = tuple(a[order] for a in at)
    columns = columns[order]
    itemsize = betas.dtype.itemsize
    for steps in trial_groups(trials, chunks[-1], BLOCK_BYTES // (itemsize * math.prod(chunks[:-1]))):
        first, last = int(trials[steps].min()), int(trials[steps].max())
        column_bytes = itemsize * (last + 1 - first)
        for part in voxel_runs(at, chunks[:-1], BLOCK_BYTES // column_bytes):
            low = [int(a[part].min()) for a in at]
            box = tuple(slice(n, int(a[part].max()) + 1) for n, a in zip(low, at, strict=True))
            block = np.asarray(betas[(*box, slice(first, last + 1))])
            picked = block[tuple(a[part] - n for n, a in zip(low, at, strict=True))]
            values = as_dtype(picked[:, trials[steps] - first], out.dtype, betas.file.filename)
            out[np.ix_(steps, columns[part])] = values.T
