"""Which image a subject sees in which trial: shared images 12 or 4 times over three sessions, unique ones once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from laion_xr.simulate.catalogue import Pools
from laion_xr.simulate.settings import Settings
from laion_xr.simulate.streams import stream

# A shared image gets all its repeats within a block of three sessions
BLOCK = 3
TRIALS_A_RUN = 15
MAX_RUNS = 12


def session_images(settings: Settings, pools: Pools, subject: str, session: str) -> list[str]:
    """Return the images of a session's trials, unordered: repeats are repeated.

    Within a block of three sessions an image of the 12-repeat set is shown 4 times in each, one of the
    4-repeat set 2 + 1 + 1 times. What comes last gives way where a session has too few trials, so that some
    images always have 4 repeats; unique images fill what is left.
    """
    n_trials = settings.trials_of(session)
    number = max(int(session.removeprefix("ses-")) - 1, 0)
    block, place = divmod(number, BLOCK)
    images = [
        name
        for name in pools.shared_12(block * settings.n_shared_12, (block + 1) * settings.n_shared_12)
        for _ in range(4)
    ]
    start = block * settings.n_shared_4
    for i, name in enumerate(pools.shared_4(start, start + settings.n_shared_4)):
        images += [name] * (2 if (i + place) % BLOCK == 0 else 1)
    images = images[:n_trials]
    return images + pools.unique(subject, session, n_trials - len(images))


def session_table(settings: Settings, pools: Pools, subject: str, session: str) -> pd.DataFrame:
    """Return a session's trial table: session, run (from 1), beta_index (from 0), label; a row a volume."""
    images = session_images(settings, pools, subject, session)
    order = stream(settings.seed, subject, session, "order").permutation(len(images))
    n_runs = min(MAX_RUNS, max(1, round(len(images) / TRIALS_A_RUN)))
    lengths = [len(part) for part in np.array_split(order, n_runs)]
    return pd.DataFrame(
        {
            "session": session,
            "run": np.repeat(np.arange(1, n_runs + 1), lengths),
            "beta_index": np.arange(len(images)),
            "label": [images[i] for i in order],
        }
    )
