"""Sizes and counts as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.quantities import count_text, size_text

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
