"""Where a dataset is: its epoch and what was consumed of it, in memory that all worker processes see."""

from __future__ import annotations

from typing import Any

import torch

from laion_xr.torch.slots import shared

_EPOCH, _LOADED, _BATCHES, _WORKERS, _TAKEN = range(5)
MOST_WORKERS = 1024


class Place:
    """The epoch, and from where to resume it.

    A few numbers in shared memory: what the main process sets reaches workers that it forked or spawned before, when
    they begin to iterate the next time.
    """

    def __init__(self) -> None:
        self.numbers = shared(torch.zeros(_TAKEN + MOST_WORKERS, dtype=torch.int64))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.numbers = shared(state["numbers"])  # through a file, it is a copy

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return int(self.numbers[_EPOCH])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; it begins at its beginning."""
        self.numbers[_EPOCH] = epoch
        self.numbers[_LOADED] = 0

    def resume(self, epoch: int, batches: int, workers: int) -> None:
        """Make the next iteration begin after so many batches, which so many workers made together."""
        self.numbers[_EPOCH], self.numbers[_BATCHES], self.numbers[_WORKERS] = epoch, batches, workers
        self.numbers[_TAKEN:] = 0
        self.numbers[_LOADED] = 1

    def take(self, worker: int) -> tuple[int, int] | None:
        """Return (batches, workers) of a resume, once for each worker; None where there is nothing to resume."""
        if not int(self.numbers[_LOADED]) or int(self.numbers[_TAKEN + worker]):
            return None
        self.numbers[_TAKEN + worker] = 1
        return int(self.numbers[_BATCHES]), int(self.numbers[_WORKERS])
