"""Encoding chunks into files on this machine, each read back from there, in memory that is used again.

The files are those that Zarr writes, byte by byte. A store that is not local is written by Zarr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_xr.errors import CorruptFileError
from laion_xr.readers.chunkfiles import CHECKSUM, ChunkFiles, checked_blosc
from laion_xr.readers.zarrarrays import LOST

SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


class ChunkWriter:
    """Writes rows of chunks of an array.

    Parameters
    ----------
    files
        The array.
    codec
        Arguments of the Blosc codec: `cname`, `clevel`, `shuffle`.
    """

    def __init__(self, files: ChunkFiles, codec: Mapping[str, Any]) -> None:
        self.files = files
        self._codec = codec["cname"].encode(), int(codec["clevel"]), SHUFFLES[codec["shuffle"]]
        self._packed, self._back = files.buffers()
        self._chunk = np.empty(files.chunks, "<f4")

    def write(self, start: int, block: npt.NDArray[np.float32]) -> None:
        """Write a row of chunks, and compare what is in their files then with what was to be written.

        Parameters
        ----------
        start
            Its first row, where a chunk begins.
        block
            Its values, `(rows, columns)`; fewer rows than a chunk has in the last one.

        Raises
        ------
        CorruptFileError
            What was read back is not what was written.
        """
        (height, width), row = self.files.chunks, start // self.files.chunks[0]
        if start % height or len(block) > height:
            raise ValueError(f"expected a row of chunks of {height} rows, found {len(block)} rows from {start}")
        os.makedirs(os.path.dirname(self.files.path(row, 0)), exist_ok=True)
        for column in range(-(-block.shape[1] // width)):
            self._write(row, column, block[:, column * width : (column + 1) * width])

    def _write(self, row: int, column: int, part: npt.NDArray[np.float32]) -> None:
        checksum_of, compress, _ = checked_blosc()
        if part.shape != self._chunk.shape:
            self._chunk.fill(LOST)  # as Zarr fills the rest of a chunk at an edge
        self._chunk[: part.shape[0], : part.shape[1]] = part
        data = compress(self._chunk, *self._codec)
        path = self.files.path(row, column)
        with open(path, "wb") as file:
            file.write(data)
            file.write(checksum_of(data).to_bytes(CHECKSUM, "little"))
        self.files.load(row, column, self._packed, self._back)
        # bytes, not values: NaN is to come back as it was
        if not np.array_equal(self._back.view(np.uint32), self._chunk.view(np.uint32)):
            raise CorruptFileError(f"{path} reads back differently from what was written; check the disk.")
