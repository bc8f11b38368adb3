"""The lossy store: rounding to as many bits as a relative error asks for. numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

LIMITS = (1e-7, 0.1)
MANTISSA_BITS, OTHER_BITS = 23, 9


def keep_bits(precision: float) -> int:
    """Return how many of the 23 mantissa bits of float32 keep a relative error of at most `precision`.

    Rounding to the nearest of `b` bits errs by at most 2^-(b + 1), relative to the value.
    """
    return int(min(max(np.ceil(-np.log2(2 * precision)), 1), MANTISSA_BITS))


def kept_share(precision: float | None) -> float:
    """Return which share of the bits is left, of which the rest compresses to nothing."""
    return 1.0 if precision is None else (OTHER_BITS + keep_bits(precision)) / (OTHER_BITS + MANTISSA_BITS)


def rounded(values: FloatArray, precision: float) -> FloatArray:
    """Return values rounded to a relative error of at most `precision`: the bits that drop are zero, and compress.

    Round half to even, as Zender (2016, doi:10.5194/gmd-9-3199-2016) and Kloewer et al. (2021,
    doi:10.1038/s43588-021-00156-2) recommend. What cannot be rounded so stays as it is, bit for bit: NaN, infinities,
    values that would become infinite, and subnormal ones (below 1.2e-38), which have fewer bits.

    Parameters
    ----------
    values
        Of any shape, contiguous along the last axis.
    """
    drop = MANTISSA_BITS - keep_bits(precision)
    if drop <= 0:
        return values
    bits = values.view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1)
    up = (bits >> np.uint32(drop)) & np.uint32(1)
    mask = np.uint32((0xFFFFFFFF >> drop) << drop)
    found = ((bits + half + up) & mask).view(np.float32)
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        regular = (size >= np.finfo(np.float32).tiny) & np.isfinite(found) & np.isfinite(values)
    return np.where(regular, found, values)
