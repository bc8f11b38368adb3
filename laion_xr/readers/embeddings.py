"""Reads rows of an embeddings file, which has an order of its own: rows are found by the image's name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laion_xr.errors import FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import IntArray, result_array, trial_positions
from laion_xr.readers.hdf5 import opened_hdf5

# Rows read at once: 2 MB of 1,024 float16 features, which stays in the processor's cache
BLOCK_ROWS = 1024
# Rows that are not asked for and are read all the same, where a new read would cost more
GAP_ROWS = 64


class EmbeddingTable(NamedTuple):
    """What an embeddings file holds besides the numbers."""

    shape: tuple[int, int]  # (image, feature)
    dtype: np.dtype[np.generic]
    image_ids: npt.NDArray[np.object_]  # (image,) names
    valid: npt.NDArray[np.bool_]  # (image,)


def read_embedding_table(location: Location, entry: FileEntry) -> EmbeddingTable:
    """Read the names and flags of an embeddings file, not the numbers.

    Raises
    ------
    FileFormatError
        `embedding` or `image_ids` is missing, or their lengths differ.
    """
    return location.remembered(entry, "table", lambda: _read_table(location, entry), (_packed, _unpacked))


def _packed(table: EmbeddingTable) -> bytes:
    plain = [table.shape, table.dtype.str, table.image_ids.tolist(), table.valid.tolist()]
    return json.dumps(plain).encode()


def _unpacked(data: bytes) -> EmbeddingTable:
    (n_images, n_features), dtype, ids, valid = json.loads(data)
    return EmbeddingTable((n_images, n_features), np.dtype(dtype), np.array(ids, object), np.array(valid, bool))


def _read_table(location: Location, entry: FileEntry) -> EmbeddingTable:
    name = location.show(entry.path)
    with opened_hdf5(location, entry) as file:
        for wanted in ("embedding", "image_ids"):
            if wanted not in file:
                raise FileFormatError(f"{name} has no array {wanted!r}: found {', '.join(file)}; download it again.")
        embedding = file["embedding"]
        ids = np.array([i.decode() if isinstance(i, bytes) else str(i) for i in file["image_ids"][()]], dtype=object)
        valid = np.asarray(file["valid"][()], dtype=bool) if "valid" in file else np.ones(len(ids), dtype=bool)
        if embedding.ndim != 2 or not len(embedding) == len(ids) == len(valid):
            raise FileFormatError(
                f"{name} does not hold one row a name: embedding {embedding.shape}, image_ids {ids.shape}, "
                f"valid {valid.shape}; download it again."
            )
        return EmbeddingTable(embedding.shape, np.dtype(embedding.dtype), ids, valid)


@dataclass(frozen=True)
class EmbeddingReader:
    """The embeddings of a model as a matrix (image, feature), with one row of NaN after the last image.

    It satisfies `Reader`: a "trial" is a row of the file, a "voxel" a feature.
    """

    location: Location
    entry: FileEntry
    n_images: int
    n_features: int
    dtype: np.dtype[np.generic]

    # a part of the rows costs a part of the reading: chunks along them are no waste
    splits_trials = True

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of the file and the row of NaN; features."""
        return self.n_images + 1, self.n_features

    @property
    def token(self) -> tuple[object, ...]:
        """Identity of the file."""
        return "embedding", self.location.url, *self.entry

    def read(
        self, trials: IntArray | slice, voxels: IntArray, out: npt.NDArray[np.generic] | None = None
    ) -> npt.NDArray[np.generic]:
        """Return rows and features; each stretch of the file is read once, whatever repeats."""
        rows, features = trial_positions(trials, self.shape[0]), np.asarray(voxels)
        out = result_array((len(rows), len(features)), self.dtype, out)
        known = rows < self.n_images
        if not known.all():
            out[~known] = np.nan
        if not known.any() or not out.size:
            return out
        order = np.flatnonzero(known)
        # the smallest type: numpy sorts 16 bits by radix, several times faster
        order = order[np.argsort(rows[order].astype(np.min_scalar_type(self.n_images)), kind="stable")]
        wanted = rows[order]
        apart = (np.diff(wanted // BLOCK_ROWS) > 0) | (np.diff(wanted) > GAP_ROWS)
        whole = out.flags.c_contiguous and bool(np.array_equal(features, np.arange(self.n_features)))
        with opened_hdf5(self.location, self.entry) as file:
            embedding = file["embedding"]
            # both are used again for every block, and stay in the processor's cache: no memory is new but the result's
            stretch = np.empty((min(BLOCK_ROWS, self.n_images), self.n_features), self.dtype)
            picked = np.empty((min(BLOCK_ROWS, len(order)) if whole else 0, self.n_features), self.dtype)
            for block in np.split(order, np.flatnonzero(apart) + 1):
                first, last = int(rows[block[0]]), int(rows[block[-1]])
                embedding.read_direct(stretch, np.s_[first : last + 1], np.s_[: last + 1 - first])
                if not whole:
                    out[block] = stretch[rows[block][:, None] - first, features]
                    continue
                for start in range(0, len(block), BLOCK_ROWS):
                    to = block[start : start + BLOCK_ROWS]
                    some = np.take(stretch, rows[to] - first, axis=0, out=picked[: len(to)], mode="clip")
                    # rows as single items: numpy copies each in one go, not number by number
                    _as_items(out)[to] = _as_items(some)
        return out


def _as_items(matrix: npt.NDArray[np.generic]) -> npt.NDArray[np.void]:
    return matrix.view(np.dtype((np.void, matrix.shape[1] * matrix.itemsize)))[:, 0]
