"""The plan of an ingest that comes from a file: reading it, and refusing options beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from laion_xr.errors import SelectionError
from laion_xr.location import Location
from laion_xr.store import IngestPlan

# In the order in which `laion_xr.cli.store.planned` takes them; with their defaults, which a plan from a file must have
OPTIONS = ("--subject", "--session", "--mask-source", "--precision", "--workers", "--memory")
DEFAULTS = (None, None, "anatomical", None, None, None)


def plan_of_file(path: Path, root: str, store: str) -> IngestPlan:
    """Return the plan of a file, or of standard input (`-`).

    Raises
    ------
    SelectionError
        There is no such file, or it is no plan, or that of another dataset or store.
    """
    found = IngestPlan.from_json(sys.stdin.read() if str(path) == "-" else _text_of(path))
    for what, planned_for, given in (("dataset", found.root, root), ("store", found.store, store)):
        if Location.of(planned_for).url != Location.of(given).url:
            raise SelectionError(
                f"The plan is for the {what} {planned_for}, found {given}: name the same, or make another plan."
            )
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise SelectionError(f"--plan {path} is no text: expected what 'laion-xr plan --json' prints.") from None
    except OSError as error:
        raise SelectionError(
            f"--plan {path} cannot be read ({error.strerror}): 'laion-xr plan ROOT STORE --json > {path}' "
            "writes a plan."
        ) from None


def refuse_both(given: Mapping[str, object]) -> None:
    """Refuse options beside a plan, which has them inside.

    Raises
    ------
    typer.BadParameter
        There are some.
    """
    extra = [name for (name, value), default in zip(given.items(), DEFAULTS, strict=True) if value != default]
    if extra:
        raise typer.BadParameter(f"the plan has that inside: leave {', '.join(extra)} out, or edit it.")
