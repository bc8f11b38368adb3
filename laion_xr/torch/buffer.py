"""The trials that a worker holds and draws its batches from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from laion_xr.readers.base import IntArray
from laion_xr.torch.shuffle import Load
from laion_xr.torch.trials import Trials

# NumPy puts rows into their places faster than PyTorch (three times, for rows of 4,000), but knows no bfloat16
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Buffer:
    """Room for the betas of some trials. What is planned is read when the first batch is made of it."""

    def __init__(self, part: Trials) -> None:
        self.part = part
        self.held = np.full(0, -1)  # position in the sequence of what a slot has, or will have
        self.planned: list[Load] = []
        self.betas: torch.Tensor | None = None
        self._room: torch.Tensor | None = None

    def reset(self, capacity: int) -> None:
        """Forget everything, and hold so many trials from now on."""
        self.held = np.full(capacity, -1)
        self.planned.clear()
        if self.betas is not None and len(self.betas) != capacity:
            self.betas = None

    def plan(self, loads: Sequence[Load]) -> None:
        """Reserve slots."""
        for load in loads:
            self.held[load.slots] = load.positions
            self.planned.append(load)

    def forget(self, slots: IntArray) -> None:
        """Give slots back."""
        self.held[slots] = -1

    def rows(self, slots: IntArray) -> list[torch.Tensor]:
        """Return the betas in slots, as views."""
        assert self.betas is not None
        return [self.betas[slot] for slot in slots.tolist()]

    def fill(self, sequence: IntArray) -> None:
        """Read what was planned and is still wanted: after a resume, most of it is not."""
        n_voxels = self.part.betas.shape[1]
        if self.betas is None:
            self.betas = torch.empty((len(self.held), n_voxels), dtype=self.part.dtype)
        for load in self.planned:
            wanted = self.held[load.slots] == load.positions
            slots, rows = load.slots[wanted], sequence[load.positions[wanted]]
            if not len(slots):
                continue
            start, n = int(slots[0]), len(slots)
            target = self.betas[start : start + n]
            together = int(slots[-1]) - start == n - 1 and bool((np.diff(slots) == 1).all())
            direct = together and target.dtype == self.part.read_dtype
            into = target if direct else self._scratch(n, n_voxels)
            self.part.betas.read(rows, out=into.numpy())
            values = self.part.prepared(into)
            if not direct:
                bits = BITS[self.betas.element_size()]
                self.betas.view(bits).numpy()[slots] = values.view(bits).numpy()
        self.planned.clear()

    def _scratch(self, n: int, n_voxels: int) -> torch.Tensor:
        if self._room is None or len(self._room) < n:
            self._room = torch.empty((n, n_voxels), dtype=self.part.read_dtype)
        return self._room[:n]
