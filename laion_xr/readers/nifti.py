"""Reads picked trials and voxels of a 4-D (or 3-D) NIfTI file in one forward pass.

The file is inflated in blocks of about 1 MiB, and the picked voxels are gathered from each block while it is in
the processor's cache. Peak memory is the result and a few blocks. Values are those of
`np.asanyarray(nibabel.load(path).dataobj).astype(dtype)`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import AnyArray, IntArray, as_dtype, checked_pick, result_array, sorted_pick, trial_positions
from laion_xr.readers.inflate import InflatedFile, open_inflated
from laion_xr.readers.nifti_header import NiftiHeader, read_header, take_header
from laion_xr.readers.stream import RangeFetcher, open_stream, size_of

# Measured on 143^3 x 1044 float32: 0.25 to 4 MiB alike, whole volumes (11.7 MB) slower by a tenth.
BLOCK = 1 << 20
# A file that is not compressed: smaller blocks skip more of it on disk; far away, a block is a request.
PLAIN_BLOCK = 1 << 18
REMOTE_BLOCK = 8 << 20


class Window(NamedTuple):
    """A stretch of a volume's bytes and what to gather from it."""

    start: int  # bytes from the beginning of the volume
    size: int  # bytes
    row: slice  # where in the gathered row
    local: IntArray  # items, from `start`


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
        distinct, targets, copies = _destinations(rows)
        name = self.location.show(self.entry.path)
        with open_inflated(open_stream(self.location, self.entry), name) as file:
            header = take_header(file)
            self._check(header, name)
            file.locate = functools.partial(_locate, header)
            # Fortran order, as the file has them
            ordered, restore = sorted_pick(_fortran_ids(picked, self.grid))
            if file.is_gzip or self.location.is_local:
                self._check_size(file.plain_size, header)
                windows = plan_windows(ordered, header, BLOCK if file.is_gzip else PLAIN_BLOCK)
                blocks = _inflated_blocks(file, header, distinct, windows)
                gather_rows(blocks, windows, header, restore, out, targets, name)
                if file.is_gzip and distinct[-1] == header.n_volumes - 1:
                    _check_end(file, header)
            else:
                file.close()  # ends the forward stream: only the picked blocks are fetched instead
                self._check_size(size_of(self.location, self.entry), header)
                windows = plan_windows(ordered, header, REMOTE_BLOCK)
                ranges = (_byte_range(header, t, w) for t in distinct for w in windows)
                with RangeFetcher(self.location, self.entry, ranges) as fetched:
                    gather_rows(fetched, windows, header, restore, out, targets, name)
        for target, origin in copies:
            out[target] = out[origin]
        return out

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
    blocks: Iterator[bytes],
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
        The bytes of every window of the first volume, of the second, and so on.
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


def _inflated_blocks(
    file: InflatedFile, header: NiftiHeader, trials: IntArray, windows: list[Window]
) -> Iterator[bytes]:
    for trial in trials.tolist():
        for window in windows:
            file.skip_to(_byte_range(header, trial, window)[0])
            data = file.read(window.size)
            if len(data) < window.size:
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


def _destinations(rows: IntArray) -> tuple[IntArray, IntArray, list[tuple[int, int]]]:
    """Return the distinct trials in file order, the row of the result for each, and (row, origin) of repeats."""
    order = np.argsort(rows, kind="stable")
    in_order = rows[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = in_order[1:] != in_order[:-1]
    targets = order[new]
    origins = targets[np.cumsum(new) - 1]
    copies = list(zip(order[~new].tolist(), origins[~new].tolist(), strict=True))
    return in_order[new], targets, copies
