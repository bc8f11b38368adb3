"""Reads picked trials and voxels of a 4-D (or 3-D) NIfTI file in one forward pass.

The file is inflated in blocks of about 1 MiB, and the picked voxels are gathered from each block while it is in
the processor's cache. Peak memory is the result and a few blocks. Values are those of
`np.asanyarray(nibabel.load(path).dataobj).astype(dtype)`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import AnyArray, IntArray, checked_pick, result_array, sorted_pick, trial_positions
from laion_xr.readers.gather import Window, destinations, gather_rows, plan_windows
from laion_xr.readers.inflate import InflatedFile, open_inflated
from laion_xr.readers.nifti_header import NiftiHeader, read_header, take_header
from laion_xr.readers.stream import RangeFetcher, open_stream, size_of

# Measured on 143^3 x 1044 float32: 0.25 to 4 MiB alike, whole volumes (11.7 MB) slower by a tenth.
BLOCK = 1 << 20
# A file that is not compressed: smaller blocks skip more of it on disk; far away, a block is a request.
PLAIN_BLOCK = 1 << 18
REMOTE_BLOCK = 8 << 20


@dataclass(frozen=True, init=False)
class NiftiReader:
    """A session's betas, or a map of one row, as a matrix `(trial, grid voxel)`.

    Parameters
    ----------
    location
        The root.
    entry
        The file, `.nii` or `.nii.gz`.
    grid
        Expected shape of a volume; checked against the header when the file is read.
    n_trials
        Expected number of volumes, 1 for a 3-D map; checked likewise. None: as many as the header says.
    dtype
        Type of what `read` returns. For integers, values are rounded and NaN becomes -1.
    """

    location: Location
    entry: FileEntry
    grid: tuple[int, int, int]
    n_trials: int | None
    dtype: np.dtype[np.generic]

    def __init__(
        self,
        location: Location,
        entry: FileEntry,
        grid: tuple[int, int, int],
        n_trials: int | None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        x, y, z = (int(n) for n in grid)
        object.__setattr__(self, "location", location)
        object.__setattr__(self, "entry", FileEntry(*entry))
        object.__setattr__(self, "grid", (x, y, z))
        object.__setattr__(self, "n_trials", None if n_trials is None else int(n_trials))
        object.__setattr__(self, "dtype", np.dtype(dtype))

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        """Number of trials, number of voxels of the grid. Reads the header where `n_trials` is None."""
        n_trials = self.n_trials
        if n_trials is None:
            n_trials = read_header(self.location, self.entry).n_volumes
        return n_trials, math.prod(self.grid)

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        return ("nifti", self.location.url, *self.entry, self.grid, self.n_trials, self.dtype.str)

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked trials of the picked voxels.

        Parameters
        ----------
        trials
            Positions in the file: a slice, or integers in any order, repeats allowed.
        voxels
            C-order flat grid indices in any order, repeats allowed.
        out
            The array to fill, of the result's shape and type; None for a new one.

        Returns
        -------
        `(len(trials), len(voxels))` of `dtype`.

        Raises
        ------
        CorruptFileError
            The file is truncated, damaged, or shorter than its header says.
        FileFormatError
            The file is not what was expected: a pointer, another shape, longer than its header says.
        """
        n_trials, n_voxels = self.shape
        rows = checked_pick(trial_positions(trials, n_trials), n_trials, "trial")
        picked = checked_pick(voxels, n_voxels, "voxel")
        out = result_array((len(rows), len(picked)), self.dtype, out)
        if not out.size:
            return out
        distinct, targets, copies = destinations(rows)
        with self._forward(distinct, picked) as (blocks, windows, header, restore):
            gather_rows(blocks, windows, header, restore, out, targets, self.location.show(self.entry.path))
        for target, origin in copies:
            out[target] = out[origin]
        return out

    def stream(
        self, voxels: IntArray, n_rows: int, buffer: Callable[[int], AnyArray] | None = None
    ) -> Iterator[tuple[int, AnyArray]]:
        """Yield every trial of the picked voxels in file order, `n_rows` at a time, in one forward pass.

        Parameters
        ----------
        voxels
            C-order flat grid indices in any order, repeats allowed; at least one.
        n_rows
            Trials a block; the last may be shorter.
        buffer
            Returns the array to fill with so many trials, of shape `(n, voxel)` and `dtype`; None for a new one each.

        Yields
        ------
        The position of the block's first trial, and the block `(n, voxel)` of `dtype`.

        Raises
        ------
        CorruptFileError, FileFormatError
            As `read`.
        """
        n_trials, n_voxels = self.shape
        picked = checked_pick(voxels, n_voxels, "voxel")
        name = self.location.show(self.entry.path)
        with self._forward(np.arange(n_trials), picked) as (blocks, windows, header, restore):
            for start in range(0, n_trials, n_rows):
                n = min(n_rows, n_trials - start)
                out = result_array((n, len(picked)), self.dtype, None if buffer is None else buffer(n))
                gather_rows(blocks, windows, header, restore, out, np.arange(len(out)), name)
                yield start, out

    def file_positions(self, voxels: IntArray) -> IntArray:
        """Return where in a volume of the file voxels (C-order flat ids) are, in items: Fortran order."""
        return _fortran_ids(voxels, self.grid)

    @contextmanager
    def _forward(
        self, distinct: IntArray, picked: IntArray
    ) -> Iterator[tuple[Iterator[bytes | memoryview], list[Window], NiftiHeader, IntArray | None]]:
        """Open the file for one pass over some trials: the blocks' bytes, and what to gather from each."""
        name = self.location.show(self.entry.path)
        with open_inflated(open_stream(self.location, self.entry), name) as file:
            header = take_header(file)
            self._check(header, name)
            file.locate = functools.partial(_locate, header)
            # Fortran order, as the file has them
            ordered, restore = sorted_pick(self.file_positions(picked))
            if file.is_gzip or self.location.is_local:
                self._check_size(file.plain_size, header)
                windows = plan_windows(ordered, header, BLOCK if file.is_gzip else PLAIN_BLOCK)
                yield _inflated_blocks(file, header, distinct, windows), windows, header, restore
                if file.is_gzip and distinct[-1] == header.n_volumes - 1:
                    _check_end(file, header)
            else:
                file.close()  # ends the forward stream: only the picked blocks are fetched instead
                self._check_size(size_of(self.location, self.entry), header)
                windows = plan_windows(ordered, header, REMOTE_BLOCK)
                ranges = (_byte_range(header, t, w) for t in distinct for w in windows)
                with RangeFetcher(self.location, self.entry, ranges) as fetched:
                    yield fetched, windows, header, restore

    def _check(self, header: NiftiHeader, name: str) -> None:
        if header.grid != self.grid:
            raise FileFormatError(
                f"{name}: expected volumes of shape {self.grid}, found {header.grid}. Is it from another space?"
            )
        if self.n_trials is not None and header.n_volumes != self.n_trials:
            raise FileFormatError(
                f"{name}: expected {self.n_trials} volumes, found {header.n_volumes} in its header. "
                "Download it and its trial table again."
            )

    def _check_size(self, size: int | None, header: NiftiHeader) -> None:
        """Compare the size of a file that is not compressed with what its header says."""
        if size is not None and size != header.end:
            raise _wrong_length(self.location.show(self.entry.path), header, size)


def _inflated_blocks(
    file: InflatedFile, header: NiftiHeader, trials: IntArray, windows: list[Window]
) -> Iterator[memoryview]:
    """Yield the bytes of each window, in memory that the next ones overwrite."""
    room = memoryview(bytearray(max(window.size for window in windows)))
    for trial in trials.tolist():
        for window in windows:
            file.skip_to(_byte_range(header, trial, window)[0])
            data = room[: window.size]
            if file.read_into(data) < window.size:
                raise _wrong_length(file.name, header, file.position)
            yield data


def _byte_range(header: NiftiHeader, trial: int, window: Window) -> tuple[int, int]:
    start = header.offset + int(trial) * header.volume_bytes + window.start
    return start, start + window.size


def _check_end(file: InflatedFile, header: NiftiHeader) -> None:
    """Read a compressed file to its end: the checksum is checked there, and that nothing is left over."""
    if not file.skip_to(header.end):
        raise _wrong_length(file.name, header, file.position)
    if file.drain():
        raise _wrong_length(file.name, header, file.position)


def _wrong_length(name: str, header: NiftiHeader, found: int) -> FileFormatError:
    volumes = max(found - header.offset, 0) / header.volume_bytes
    kind = CorruptFileError if found < header.end else FileFormatError
    word = "shorter" if found < header.end else "longer"
    return kind(
        f"{name} is {word} than its header says: expected {header.n_volumes} volumes ({header.end} bytes inflated), "
        f"found {volumes:.6g} ({found} bytes). Download it again."
    )


def _locate(header: NiftiHeader, position: int) -> str:
    volume = min(max(position - header.offset, 0) // max(header.volume_bytes, 1) + 1, header.n_volumes)
    return f"in volume {volume} of {header.n_volumes}"


def _fortran_ids(voxels: IntArray, grid: tuple[int, int, int]) -> IntArray:
    i, j, k = np.unravel_index(voxels, grid)
    ids: IntArray = np.ravel_multi_index((i, j, k), grid, order="F")
    return ids
