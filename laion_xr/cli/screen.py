"""What every command prints with: two consoles, sizes and counts as people read them, errors as sentences."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laion_xr.errors import (
    CacheWarning,
    ClampedWarning,
    IncompleteDataWarning,
    LaionXRError,
    NotStoredWarning,
    ReadCostWarning,
    SecretExposedWarning,
    StaleStoreWarning,
)
from laion_xr.quantities import UNKNOWN
from laion_xr.quantities import count_text as count_text
from laion_xr.quantities import size_text as size_text

FAILED, INTERRUPTED = 1, 130
OWN_WARNINGS = (
    CacheWarning,
    ClampedWarning,
    IncompleteDataWarning,
    NotStoredWarning,
    ReadCostWarning,
    SecretExposedWarning,
    StaleStoreWarning,
)
NONE = UNKNOWN  # an empty cell

# Errors speak Python; these are the same words on the command line
SPELLINGS = {
    "accept_licenses=True": "--accept-license",
    "create=True": "--create",
    "research_purpose": "purpose",
    "overwrite=True": "--overwrite",
    "subject=...": "SUBJECT",
    "storage_options": "--storage-option",
    "ingest with update=True": "ingest without --no-update",
    "update=False": "--no-update",
    "memory=": "--memory ",
    "subject='sub-03'": "--subject sub-03",
    "embeddings=True": "--embeddings all",
    "segmentations=True": "--segmentations",
    "captions=True": "--captions",
    "dry_run=True": "--dry-run",
    "session=, include=": "--session, --include",
    "include=": "--include ",
    "laion_xr.ingest": "laion-xr ingest",
    "give root, the dataset": "give ROOT, the dataset",
}


def stdout() -> Console:
    """Return the console for results."""
    return Console(highlight=False)


def stderr() -> Console:
    """Return the console for errors, notes and progress."""
    return Console(stderr=True, highlight=False)


def line(text: str, style: str = "", console: Console | None = None) -> None:
    """Print text as it is: no markup, and no line breaks of ours, so that paths can be copied."""
    (console or stdout()).print(Text(text, style=style), soft_wrap=True)


def paragraph(text: str) -> None:
    """Print prose: no markup, lines broken between words."""
    stdout().print(Text(text))


def emit_json(data: object) -> None:
    """Print data as JSON to standard output; NaN becomes null, which every parser knows."""
    typer.echo(json.dumps(_plain(data), indent=2, allow_nan=False))


def plain_table(title: str, *columns: str) -> Table:
    """Return an empty table; a column whose name begins with `>` is aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return table


@contextmanager
def reporting(debug: bool = False) -> Iterator[None]:
    """Turn what goes wrong inside into one sentence on standard error and an exit code.

    Parameters
    ----------
    debug
        Let exceptions pass, so that their traceback shows.

    Raises
    ------
    typer.Exit
        1 for an error, 130 for an interrupt (Ctrl-C), which says nothing.
    """
    with warnings.catch_warnings():
        # shown whatever the filters say: for a person at the terminal a note is not an error
        for category in OWN_WARNINGS:
            warnings.simplefilter("always", category)
        warnings.showwarning = _note(warnings.showwarning)
        try:
            yield
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.BadParameter, BrokenPipeError):
            raise
        except LaionXRError as error:
            if debug:
                raise
            fail(str(error))
        except (OSError, ImportError) as error:
            if debug:
                raise
            fail(f"{error} (--debug shows where).")
        except Exception as error:
            if debug:
                raise
            fail(
                f"Unexpected {type(error).__name__}: {error} (--debug shows where; a fault of laion-xr? Please report)."
            )


def fail(message: str) -> NoReturn:
    """Print an error in red and leave with code 1."""
    line(f"Error: {' '.join(spelled(message).split())}", "bold red", stderr())
    raise typer.Exit(FAILED)


def spelled(message: str) -> str:
    """Return a message of the package in the words of the command line."""
    for python, shell in SPELLINGS.items():
        message = message.replace(python, shell)
    return message


def _note(usual: Any) -> Any:
    said = set[str]()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        text: str | None = None,
    ) -> None:
        if issubclass(category, OWN_WARNINGS):
            # once: what is wrong with a folder is said for each of its files
            if str(message) not in said:
                said.add(str(message))
                line(f"Note: {message}", "yellow", stderr())
        else:
            usual(message, category, filename, lineno, file, text)

    return show


def _plain(data: object) -> object:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
