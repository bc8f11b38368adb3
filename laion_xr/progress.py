"""The progress bar of long work: aware of notebooks, silent where nobody looks."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Protocol

from tqdm import TqdmWarning  # type: ignore[import-untyped]

with warnings.catch_warnings():
    # in a notebook without ipywidgets tqdm warns as soon as it is imported; its plain bar does as well
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm  # type: ignore[import-untyped]


class Bar(Protocol):
    """What is used of a bar."""

    def update(self, n: int = 1) -> object:
        """Count steps."""

    def __enter__(self) -> Bar: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object: ...


def trial_bar(total: int, shown: bool, task: str = "simulate") -> Bar:
    """Return a bar over trials; silent when not asked for, and where the output is not a terminal or a notebook."""
    # disable=None: tqdm itself looks for a terminal
    bar: Bar = tqdm(total=total, unit=" trials", desc=task, disable=None if shown else True)
    return bar


def byte_bar(total: int, shown: bool, task: str) -> Bar:
    """Return a bar over bytes; silent when not asked for, and where the output is not a terminal or a notebook."""
    bar: Bar = tqdm(total=total, unit="B", unit_scale=True, desc=task, disable=None if shown else True)
    return bar
