"""What every command prints with: two consoles, sizes and counts as people read them, errors as sentences."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NoReturn, TextIO

import typer
from rich import box
from rich.cells import cell_len
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
from laion_xr.quantities import duration_text as duration_text
from laion_xr.quantities import estimate_text as estimate_text
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
NO_EDGE = 10_000  # columns of what is no terminal

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
    return _console(Console(highlight=False))


def stderr() -> Console:
    """Return the console for errors, notes and progress."""
    return _console(Console(stderr=True, highlight=False))


def _console(console: Console) -> Console:
    # a file and a pipe have no edge: nothing is cut there, and no line is broken
    if not console.is_terminal:
        console.width = NO_EDGE
    return console


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
        justify: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, overflow="fold")
    return table


def print_table(table: Table, prose: Sequence[str] = (), spare: Sequence[str] = ()) -> None:
    """Print a table so that no name and no number is cut, however narrow the terminal.

    Where it does not fit, first the gaps between columns shrink and headings break between words, then columns are left
    out, and named below.

    Parameters
    ----------
    table
        What `plain_table` returned, filled.
    prose
        Headings of columns whose cells may be broken into lines: sentences, lists, paths.
    spare
        Headings of columns to leave out, in this order, where the terminal is too narrow.
    """
    console = stdout()
    left_out: list[str] = []
    shown = table
    while _width(console, shown) > console.width:
        shown = _narrow(table, prose, left_out)
        room = console.width - _width(console, shown, least=True)
        if room >= 0 or len(left_out) == len(spare):
            _widen_headings(shown, room)
            break
        left_out.append(spare[len(left_out)])
    # what still does not fit is left to the terminal, which breaks lines and loses nothing
    console.print(shown, crop=False)
    if left_out:
        line(f"Too narrow for {', '.join(left_out)}: widen the terminal, or use --json.", "dim")


def _width(console: Console, table: Table, least: bool = False) -> int:
    found = console.measure(table, options=console.options.update(width=NO_EDGE))
    return found.minimum if least else found.maximum


def _widen_headings(table: Table, room: int) -> None:
    """Give what is left of the width to headings that are broken, where it is enough."""
    for column in table.columns:
        lacks = 0 if column.width is None else cell_len(str(column.header)) - column.width
        if column.width is not None and 0 < lacks <= room:
            column.width, room = column.width + lacks, room - lacks


def _narrow(table: Table, prose: Sequence[str], left_out: Sequence[str]) -> Table:
    """Return a table without some columns, the others as narrow as their names and numbers allow."""
    kept = [column for column in table.columns if column.header not in left_out]
    narrow = plain_table(str(table.title))
    narrow.padding = (0, 1, 0, 0)
    for column in kept:
        whole = [*map(str, column.cells), *str(column.header).split()]
        # prose is given what the others leave
        width = None if column.header in prose else max(map(cell_len, whole), default=1)
        narrow.add_column(column.header, justify=column.justify, overflow="fold", width=width)
    for row, *cells in zip(table.rows, *(column.cells for column in kept), strict=True):
        narrow.add_row(*cells, style=row.style, end_section=row.end_section)
    return narrow


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
