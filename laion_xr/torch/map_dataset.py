"""The map dataset: any trial by its number, one read a batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from laion_xr.errors import SelectionError
from laion_xr.torch.state import Place
from laion_xr.torch.trials import Item, Trials


class TrialDataset(Dataset[Item]):
    """Trials by number, for samplers of your own. `to_torch(kind="map")` makes it.

    A DataLoader asks `__getitems__` for a whole batch, which is one read of each session that it has trials of. From a
    store a trial costs a chunk of 128; where that matters, `TrialStream` reads each chunk once.

    Parameters
    ----------
    trials
        What is served.
    seed
        Of the captions that are drawn, with the epoch.
    transform
        Called with each item.
    """

    def __init__(self, trials: Trials, *, seed: int = 0, transform: Callable[[Item], Any] | None = None) -> None:
        self.trials, self.seed, self.transform = trials, seed, transform
        self.place = Place()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, by which captions are drawn; the order is the sampler's."""
        self.place.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.trials)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the items of several numbers, in their order; negative ones count from the end."""
        n = len(self)
        try:
            rows = np.asarray([operator.index(i) for i in indices], np.int64)
        except TypeError as error:
            raise SelectionError(
                f"A trial is asked for by its number, found {indices!r}: for several, select before to_torch, or use "
                "torch.utils.data.Subset."
            ) from error
        wrong = rows[(rows < -n) | (rows >= n)]
        if len(wrong):
            raise IndexError(f"trial {int(wrong[0])} is outside 0 to {n - 1}: the dataset has {n} trials")
        rows = np.where(rows < 0, rows + n, rows)
        items = self.trials.items(rows, list(self.trials.read(rows)), self.seed, self.place.epoch)
        return items if self.transform is None else [self.transform(item) for item in items]
