"""`laion-xr simulate`: the arguments of a terminal -> `laion_xr.simulate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import typer

from laion_xr.cli.screen import count_text, line, size_text
from laion_xr.location import Location
from laion_xr.simulate import Truth
from laion_xr.simulate import simulate as simulate_dataset


def run(
    root: Path,
    *,
    subjects: Sequence[str],
    sessions: Sequence[str],
    trials: int | None,
    grid: str | None,
    seed: int,
    full_size: bool,
    overwrite: bool,
    progress: bool,
) -> None:
    """Simulate, and say what was written."""
    truth = simulate_dataset(
        root,
        subjects=count_or_names(subjects),
        sessions=count_or_names(sessions),
        trials=trials,
        grid=None if grid is None else grid_sizes(grid),
        seed=seed,
        full_size=full_size,
        overwrite=overwrite,
        progress=progress,
    )
    for sentence in summary(truth):
        line(sentence)


def count_or_names(given: Sequence[str]) -> int | list[str] | None:
    """Return what `--subjects` or `--sessions` means: a count, names, or None for the default.

    A single number without a leading zero is a count, as the integer is in Python, and so is 0, which is refused;
    everything else is names.
    """
    items = [item.strip() for text in given for item in text.split(",") if item.strip()]
    if len(items) == 1 and items[0].isdigit() and (items[0] == "0" or not items[0].startswith("0")):
        return int(items[0])
    return items or None


def grid_sizes(text: str) -> int | list[int]:
    """Return the grid that a text names: `"24"`, `"24,26,22"`, `"24x26x22"`.

    Raises
    ------
    typer.BadParameter
        It is neither one number nor three.
    """
    parts = re.split(r"[\s,x]+", text.strip())
    if len(parts) not in (1, 3) or not all(part.isdigit() for part in parts):
        raise typer.BadParameter(
            f"expected one number or three, such as 24,26,22, found {text!r}.", param_hint="--grid"
        )
    sizes = [int(part) for part in parts]
    return sizes[0] if len(sizes) == 1 else sizes


def summary(truth: Truth) -> list[str]:
    """Return what was written, where, and what to type next."""
    root = Location.of(truth.root)
    first = next(iter(truth.subjects.values()))
    trials = sorted({len(table) for table in first.trials.values()})
    a_session = count_text(trials[-1], "trial") if len(trials) == 1 else f"{trials[0]} to {trials[-1]} trials"
    size = sum(entry.size for entry in root.files(""))
    return [
        f"Simulated {', '.join(truth.subjects)}: {count_text(len(first.sessions), 'session')} of {a_session}, grid "
        f"{' x '.join(map(str, truth.grid))}, seed {truth.seed}; {size_text(size)} in {root.url}",
        f"Look at it: laion-xr info {truth.root}",
    ]
