"""The trials of one subject as items: betas and what belongs to them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr

from laion_xr.indexes import subject_of
from laion_xr.readers.base import IntArray
from laion_xr.schema import STIMULUS, SUBJECT, TRIAL, VOXEL
from laion_xr.torch.items import Field
from laion_xr.torch.slots import aligned
from laion_xr.torch.sources import BetaSource

Item = dict[str, Any]
# Coordinates that say which trials and voxels an array has
IDENTITY = (TRIAL, "session", STIMULUS, VOXEL, SUBJECT)


@dataclass(frozen=True, eq=False)
class Trials:
    """What a dataset of PyTorch serves of one subject.

    Attributes
    ----------
    betas
        Reads the betas.
    fields
        The other keys of an item.
    dtype
        Type of the betas.
    nan
        What missing betas become; None: they stay NaN.
    constant
        Keys that are the same in all items (the subject).
    labels
        Digest of which trials and voxels these are: a resume is of the same.
    """

    betas: BetaSource
    fields: Mapping[str, Field]
    dtype: torch.dtype = torch.float32
    nan: float | None = None
    constant: Mapping[str, Any] | None = None
    labels: str = ""

    def __len__(self) -> int:
        return self.betas.shape[0]

    @property
    def item_bytes(self) -> int:
        """Bytes of the tensors of an item, each rounded up to where the next may begin."""
        sizes = [self.betas.shape[1] * self.dtype.itemsize, *(field.item_bytes for field in self.fields.values())]
        return sum(aligned(size) for size in sizes)

    def items(self, rows: IntArray, betas: list[torch.Tensor], seed: int, epoch: int) -> list[Item]:
        """Return items of rows whose betas are there."""
        columns = [betas, *(field.values(rows, seed, epoch) for field in self.fields.values())]
        keys = ["betas", *self.fields]
        constant = dict(self.constant or {})
        return [dict(zip(keys, values, strict=True)) | constant for values in zip(*columns, strict=True)]

    def read(self, rows: IntArray) -> torch.Tensor:
        """Return the betas of rows, one read a session."""
        room = torch.empty((len(rows), self.betas.shape[1]), dtype=self.read_dtype)
        return self.prepared(torch.from_numpy(self.betas.read(rows, out=room.numpy())))

    @property
    def read_dtype(self) -> torch.dtype:
        """Type that betas are read as: double only where that is what is wanted."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def prepared(self, betas: torch.Tensor) -> torch.Tensor:
        """Return betas as they are served: of the type that is wanted, without NaN where that is wanted."""
        if self.nan is not None:
            betas.masked_fill_(torch.isnan(betas), self.nan)
        return betas.to(self.dtype)


def label_digest(obj: xr.Dataset | xr.DataArray, dims: Collection[Hashable]) -> str:
    """Return a digest of whose trials and voxels these are, and which, in their order."""
    found = hashlib.sha256(subject_of(obj).encode())
    for name in IDENTITY:
        if name not in obj.coords or len(obj[name].dims) != 1 or obj[name].dims[0] not in dims:
            continue
        values = obj[name].values
        numbers = values.dtype.kind in "iu"
        found.update(name.encode())
        found.update(values.astype("<i8").tobytes() if numbers else "\0".join(map(str, values.tolist())).encode())
    return found.hexdigest()[:16]
