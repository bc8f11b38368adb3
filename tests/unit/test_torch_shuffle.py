"""In which order trials come: arithmetic, checked by replaying it on a plain list as a buffer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laion_xr.torch.shuffle import Order, Shard, merged, neighbour_distance, taken_by


def blocks_of(*lengths: int) -> list[np.ndarray]:
    """Blocks of rows, in an order of rows that is not their number's."""
    rows = np.random.default_rng(len(lengths)).permutation(sum(lengths))
    return np.split(rows, np.cumsum(lengths)[:-1])


def batches(order: Order, shard: Shard, seed: int = 0, epoch: int = 0) -> list[list[int]]:
    sequence, _ = order.sequence(shard, seed, epoch)
    return [sequence[step.positions].tolist() for step in order.steps(shard, seed, epoch)]


def shards(world_size: int, workers: int) -> list[Shard]:
    return [Shard(r, world_size, w, workers) for r in range(world_size) for w in range(workers)]


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    batch=st.integers(1, 7),
    buffer=st.integers(1, 30),
    world=st.integers(1, 3),
    workers=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_each_row_comes_once_over_ranks_and_workers(
    lengths: list[int], batch: int, buffer: int, world: int, workers: int, shuffle: bool
) -> None:
    order = Order(blocks_of(*lengths), batch, buffer, shuffle)
    found = [batches(order, shard) for shard in shards(world, workers)]
    assert sorted(row for of_shard in found for one in of_shard for row in one) == list(range(sum(lengths)))
    for rank in range(world):
        of_rank = [len(one) for of_worker in found[rank * workers : (rank + 1) * workers] for one in of_worker]
        # all batches are complete but the last, however many workers make them
        assert of_rank[:-1] == [batch] * len(of_rank[:-1])
        assert len(of_rank) == order.n_batches(Shard(rank, world))


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    batch=st.integers(1, 7),
    buffer=st.integers(1, 30),
    world=st.integers(1, 4),
    even=st.sampled_from([None, "drop", "pad"]),
    seed=st.integers(0, 3),
)
def test_a_buffer_of_the_stated_size_can_follow_the_steps(
    lengths: list[int], batch: int, buffer: int, world: int, even: str | None, seed: int
) -> None:
    order = Order(blocks_of(*lengths), batch, buffer, even=even)
    for shard in shards(world, 2):
        sequence, _ = order.sequence(shard, seed, 0)
        slots: list[int | None] = [None] * order.capacity(shard)
        assert len(slots) <= max(buffer, max(lengths) + batch - 1)
        served = 0
        for step in order.steps(shard, seed, 0):
            for load in step.loads:
                for position, slot in zip(load.positions, load.slots, strict=True):
                    assert slots[slot] is None  # nothing is overwritten that was not served
                    slots[slot] = int(sequence[position])
            for position, slot in zip(step.positions, step.slots, strict=True):
                assert slots[slot] == sequence[position]
                slots[slot] = None
                served += 1
        assert served == len(sequence)


@pytest.mark.parametrize(("even", "total", "each"), [("drop", 21, 7), ("pad", 24, 8), (None, 23, None)])
def test_ranks_can_be_made_even(even: str | None, total: int, each: int | None) -> None:
    order = Order(blocks_of(6, 6, 6, 5), 3, 10, even=even)
    of_rank = [[row for one in batches(order, Shard(r, 3)) for row in one] for r in range(3)]
    assert sum(map(len, of_rank)) == total
    assert len({row for rows in of_rank for row in rows}) == min(total, 23)
    if each is not None:
        assert [len(rows) for rows in of_rank] == [each] * 3
        assert len({order.n_batches(Shard(r, 3)) for r in range(3)}) == 1


def test_padding_of_one_block_over_many_ranks() -> None:
    order = Order(blocks_of(2), 1, 1, even="pad")
    assert [len(batches(order, Shard(r, 5))) for r in range(5)] == [1] * 5


def test_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    order = Order(blocks_of(*[8] * 10), 4, 30)
    shard = Shard(1, 2, 0, 2)
    assert batches(order, shard, 3, 5) == batches(order, shard, 3, 5)
    found = [batches(order, shard, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


def test_without_shuffling_rows_come_block_by_block() -> None:
    blocks = blocks_of(5, 3, 7)
    rows = [row for one in batches(Order(blocks, 4, 1, shuffle=False), Shard()) for row in one]
    assert rows == np.concatenate(blocks).tolist()


def test_drop_last_leaves_out_the_incomplete_batch_of_a_rank() -> None:
    order = Order(blocks_of(5, 5, 5), 4, 10, drop_last=True)
    for workers in (1, 2, 3):
        found = [one for w in range(workers) for one in batches(order, Shard(0, 1, w, workers))]
        assert [len(one) for one in found] == [4, 4, 4]


def test_no_rows_are_no_batches() -> None:
    assert batches(Order([], 4, 10), Shard()) == []


def test_blocks_are_read_once_by_one_worker() -> None:
    order = Order(blocks_of(*[8] * 12), 4, 40)
    loads = [load for step in order.steps(Shard(), 0, 0) for load in step.loads]
    assert [len(load.positions) for load in loads] == [8] * 12


def test_subjects_take_turns_at_random() -> None:
    turns = merged([30, 10], True, 0, 0, Shard())
    assert np.bincount(turns).tolist() == [30, 10]
    assert (np.diff(turns) != 0).sum() > 8
    assert merged([2, 1], False, 0, 0, Shard()).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("consumed", "taken", "turn"),
    [
        (0, [0, 0, 0], 0),
        (1, [1, 0, 0], 1),
        (4, [2, 1, 1], 1),
        (5, [2, 1, 2], 0),
        (6, [2, 1, 3], 0),
        (7, [2, 1, 4], 0),
        (99, [2, 1, 4], 0),
    ],
)
def test_whose_batches_were_consumed(consumed: int, taken: list[int], turn: int) -> None:
    assert taken_by(consumed, [2, 1, 4]) == (taken, turn)


def test_neighbour_distance_of_known_orders() -> None:
    n = 4000
    assert neighbour_distance(np.random.default_rng(0).permutation(n)) == pytest.approx(1, abs=0.05)
    assert neighbour_distance(range(n)) == pytest.approx(1 / (0.29289 * n), rel=1e-3)
    assert neighbour_distance([0]) == 1


def test_the_default_buffer_mixes_a_subject_as_the_docs_say() -> None:
    # 30 sessions of 1,044 trials in chunks of 128, as the published subjects
    lengths = [128] * 8 + [20]
    starts = np.cumsum([0] + lengths * 30)
    blocks = [np.arange(a, b) for a, b in itertools.pairwise(starts)]
    rows = batches(Order(blocks, 32, 4096), Shard())
    assert 0.25 < neighbour_distance(np.concatenate(rows)) < 0.45
    assert np.mean([len({row // 1044 for row in one}) for one in rows]) > 15
    tight = batches(Order(blocks, 32, 512), Shard())
    assert 0.02 < neighbour_distance(np.concatenate(tight)) < 0.08
