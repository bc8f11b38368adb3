"""Sizes, durations and counts as people read them. Imports nothing of the package."""

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


def duration_text(seconds: float) -> str:
    """Return a duration as people read it: `"under 1 s"`, `"4.2 s"`, `"42 s"`, `"3 min 20 s"`, `"2 h 5 min"`."""
    if seconds < 0.95:
        return "under 1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        large, small, units = *divmod(whole, 60), ("min", "s")
    else:
        large, small, units = *divmod(round(seconds / 60), 60), ("h", "min")
    return f"{large:,} {units[0]}" + (f" {small} {units[1]}" if small else "")


def estimate_text(seconds: float) -> str:
    """Return an estimated duration: `"about 42 s"`, `"under 1 s"`."""
    text = duration_text(seconds)
    return text if text.startswith("under") else f"about {text}"
