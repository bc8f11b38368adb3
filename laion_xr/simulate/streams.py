"""Random streams by name: the same seed and names give the same numbers, whatever else is simulated. numpy only."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random stream of something that names identify (a subject, a session, a trial, an image).

    Streams of different names are independent, and none depends on how many others were drawn: adding a
    session or reading trials in another order changes no number.
    """
    # crc32, as Python's own hash of a string differs from process to process
    key = tuple(name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
