"""Sizes, durations and counts as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.quantities import count_text, duration_text, estimate_text, size_text

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (43_210, "43.2 kB"),
        (9_994, "9.99 kB"),
        (9_995, "10.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (1_150_000_000, "1.15 GB"),
        (87 * 10**12, "87.0 TB"),
        (3 * 10**15, "3,000 TB"),
    ],
)
def test_sizes(n_bytes: int, text: str) -> None:
    assert size_text(n_bytes) == text


@given(st.integers(0, 10**16))
def test_a_size_is_right_to_three_digits(n_bytes: int) -> None:
    number, unit = size_text(n_bytes).replace(",", "").split()
    assert abs(float(number) * UNITS[unit] - n_bytes) <= max(0.5, 0.0051 * n_bytes)
    assert len(number.replace(".", "")) <= 3 or unit == "TB"


def test_counts() -> None:
    assert [count_text(n, "file") for n in (0, 1, 2, 1044)] == ["0 files", "1 file", "2 files", "1,044 files"]
    assert count_text(1044) == "1,044"
    assert count_text(None, "file") == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "under 1 s"),
        (0.02249, "under 1 s"),
        (0.96, "1.0 s"),
        (4.23, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
        (3_600_000, "1,000 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert estimate_text(seconds) == (text if text == "under 1 s" else f"about {text}")


@given(st.floats(0.95, 1e7))
def test_a_duration_is_right_to_its_last_unit(seconds: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    words = duration_text(seconds).replace(",", "").split()
    found = sum(float(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(found - seconds) <= (0.051 if "." in words[0] else 0.51 if words[-1] == "s" or seconds < 3600 else 30.1)
