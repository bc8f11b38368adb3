"""Sizes and counts as people read them. Imports nothing of the package."""

from __future__ import annotations

UNKNOWN = "-"  # a count that nobody knows: an empty cell


def size_text(n_bytes: int) -> str:
    """Return a number of bytes as people read it: `"1.15 GB"` (decimal units, three digits)."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    # what is rounded up to another digit before the point has one less behind it
    digits = 0 if units[0] == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:,.{digits}f} {units[0]}"


def count_text(n: int | None, noun: str = "") -> str:
    """Return a count with separators, and its noun in the plural where it is not one: `"1,044 trials"`."""
    if n is None:
        return UNKNOWN
    return f"{n:,} {noun}{'' if n == 1 else 's'}" if noun else f"{n:,}"
