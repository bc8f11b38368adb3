"""What a page is made of, and the page as HTML: every text is escaped, nothing is loaded from anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar

from jinja2 import Environment, StrictUndefined
from jinja2.filters import do_filesizeformat

NONE = "-"  # an empty cell


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is read, and what it is sorted by (None: last, in either direction)."""

    text: str
    value: str | float | None = None


@dataclass(frozen=True)
class Column:
    """A column: numbers are aligned to the right and sorted as numbers."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows. `filter` is the label of a box that filters them, `""` for none.

    `stacked`: on a narrow page the last cell of a row stands below the others, and nothing is off to the right.
    """

    kind: ClassVar[str] = "table"
    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    filter: str = ""
    stacked: bool = False


@dataclass(frozen=True)
class Drawing:
    """What is drawn, as data URIs for a light and a dark page (`""`: the same), and its size in CSS pixels."""

    light: str
    dark: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """A picture, and another drawing of the same for a narrow page, where letters of the first would be too small.

    `alt` says in words what it shows; `wide`: it has a row by itself.
    """

    kind: ClassVar[str] = "picture"
    drawing: Drawing
    alt: str
    caption: str
    wide: bool = False
    narrow: Drawing | None = None


@dataclass(frozen=True)
class Facts:
    """Names and values, one a line."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Tiles:
    """Numbers to see first: value, what it counts, and a remark."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Code:
    """Python to copy."""

    kind: ClassVar[str] = "code"
    id: str
    text: str


@dataclass(frozen=True)
class Items:
    """A list that is closed at first."""

    kind: ClassVar[str] = "items"
    summary: str
    items: Sequence[str]


@dataclass(frozen=True)
class Note:
    """A sentence: `"info"`, or `"problem"`, where something is not here or cannot be used."""

    kind: ClassVar[str] = "note"
    text: str
    level: str = "info"


Block = Table | Picture | Facts | Tiles | Code | Items | Note


@dataclass(frozen=True)
class Section:
    """A part of the page: `id` is its anchor, `short` its name in the navigation."""

    id: str
    short: str
    title: str
    intro: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """Everything that is on the page."""

    title: str
    subtitle: str
    simulated: bool
    sections: Sequence[Section]
    footer: str


def render(page: Page) -> str:
    """Return a page as one HTML document."""
    environment = Environment(
        autoescape=True,  # names in files are somebody else's: none of them may become markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string(_packaged("page.html"))
    return template.render(page=page, style=_packaged("style.css"), script=_packaged("script.js"))


def text_cell(text: str) -> Cell:
    """Return a cell of text."""
    return Cell(text or NONE, text or None)


def count_cell(n: int | None) -> Cell:
    """Return a cell of a count."""
    return Cell(count(n), n)


def size_cell(n: int | None) -> Cell:
    """Return a cell of a number of bytes."""
    return Cell(size(n), n)


def number_cell(value: float | None, digits: int = 1) -> Cell:
    """Return a cell of a number; NaN is none."""
    if value is None or not math.isfinite(value):
        return Cell(NONE)
    return Cell(f"{value:.{digits}f}", round(float(value), 6))


def count(n: int | None, noun: str = "") -> str:
    """Return a count with separators, and its noun in the plural where it is not one: `"1,044 trials"`."""
    if n is None:
        return NONE
    return f"{n:,} {noun}{'' if n == 1 else 's'}" if noun else f"{n:,}"


def size(n: int | None) -> str:
    """Return a number of bytes as people read it, in decimal units: `"1.1 GB"`."""
    return NONE if n is None else do_filesizeformat(n)


def _packaged(name: str) -> str:
    return files("laion_xr.report").joinpath("template", name).read_text("utf-8")
