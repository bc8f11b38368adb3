"""Which chunks are read together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.readers.chunks import trial_groups, voxel_runs


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(1, 20), st.integers(1, 50))
def test_trial_groups_cover_each_trial_once(trials: list[int], chunk: int, most: int) -> None:
    pick = np.array(trials)
    groups = list(trial_groups(pick, chunk, most))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(trials)))
    for group in groups:
        chunks = np.unique(pick[group] // chunk)
        assert (np.diff(chunks) == 1).all()  # nothing is read between
        assert len(chunks) <= max(most // chunk, 1)
    touched = [int(c) for group in groups for c in np.unique(pick[group] // chunk)]
    assert len(touched) == len(set(touched))  # a chunk is read once


@given(st.data())
def test_voxel_runs_cover_each_voxel_once(data: st.DataObject) -> None:
    n_axes = data.draw(st.sampled_from([1, 3]))
    chunks = tuple(data.draw(st.integers(1, 4)) for _ in range(n_axes))
    most = data.draw(st.integers(1, 60))
    count = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    at = [rng.integers(0, 8, count) for _ in range(n_axes)]
    order = np.lexsort([a // c for a, c in zip(at[::-1], chunks[::-1], strict=True)])
    at_sorted = tuple(a[order] for a in at)
    runs = list(voxel_runs(at_sorted, chunks, most))
    assert [n for run in runs for n in range(run.start, run.stop)] == list(range(count))
    touched = []
    for run in runs:
        numbers = np.unique(np.stack([a[run] // c for a, c in zip(at_sorted, chunks, strict=True)], axis=1), axis=0)
        assert (numbers[:, :-1] == numbers[0, :-1]).all()
        assert (np.diff(numbers[:, -1]) == 1).all()
        assert len(numbers) <= max(most // int(np.prod(chunks)), 1)
        touched += [tuple(n) for n in numbers]
    assert len(touched) == len(set(touched))
