"""Rounding to a relative error: the bound holds for every float32, and what has no such rounding stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from laion_xr.store.precision import LIMITS, keep_bits, kept_share, rounded

PRECISIONS = st.floats(*LIMITS)
# every bit pattern: numbers of any size, subnormal ones, both zeros, infinities, NaN of any payload
ANY_BITS = hnp.arrays(np.uint32, hnp.array_shapes(max_dims=2, max_side=20)).map(lambda bits: bits.view(np.float32))


@given(ANY_BITS, PRECISIONS)
@settings(max_examples=300, deadline=None)
def test_the_error_is_at_most_the_precision(values: np.ndarray, precision: float) -> None:
    found = rounded(values, precision)
    finite = np.isfinite(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32)[~finite], values.view(np.uint32)[~finite])
    assert np.isfinite(found[finite]).all()
    error = np.abs(found[finite].astype(np.float64) - values[finite].astype(np.float64))
    assert (error <= precision * np.abs(values[finite].astype(np.float64))).all()


@given(ANY_BITS, PRECISIONS)
@settings(max_examples=100, deadline=None)
def test_rounding_twice_is_rounding_once(values: np.ndarray, precision: float) -> None:
    once = rounded(values, precision)
    np.testing.assert_array_equal(rounded(once, precision).view(np.uint32), once.view(np.uint32))


@given(PRECISIONS)
def test_no_more_bits_than_needed(precision: float) -> None:
    bits = keep_bits(precision)
    assert 2.0 ** -(bits + 1) <= precision or bits == 23
    assert bits == 1 or 2.0**-bits > precision


@pytest.mark.parametrize(("precision", "bits"), [(0.1, 3), (1e-2, 6), (1e-3, 9), (1e-4, 13), (1e-6, 19), (1e-7, 23)])
def test_bits(precision: float, bits: int) -> None:
    assert keep_bits(precision) == bits
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    dropped = rounded(values, precision).view(np.uint32) & np.uint32((1 << (23 - bits)) - 1)
    assert not dropped.any()
    assert kept_share(precision) == (9 + bits) / 32


def test_exact_is_exact() -> None:
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    assert rounded(values, 1e-7) is values
    assert kept_share(None) == 1


def test_what_stays_as_it_is() -> None:
    info = np.finfo(np.float32)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, info.max, info.min, info.smallest_subnormal], np.float32)
    found = rounded(special, 0.1)
    np.testing.assert_array_equal(found.view(np.uint32), special.view(np.uint32))


def test_ties_go_to_even() -> None:
    # three bits: 1.0625 lies between 1.0 and 1.125, 1.1875 between 1.125 and 1.25
    np.testing.assert_array_equal(rounded(np.float32([1.0625, 1.1875, -1.0625]), 0.1), np.float32([1, 1.25, -1]))
