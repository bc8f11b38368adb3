"""The byte budget: what is held never exceeds it, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laion_xr
from laion_xr.lazy import budget as module
from laion_xr.lazy.budget import ByteBudget, decode_budget, set_decode_budget


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    set_decode_budget(None)
    yield
    set_decode_budget(None)


def test_what_is_taken_is_given_back_also_after_an_error() -> None:
    budget = ByteBudget(10)
    with budget.take(4), budget.take(6):
        assert budget.held == 10
    with pytest.raises(ValueError, match="broken"), budget.take(7):
        raise ValueError("broken")
    assert (budget.held, budget.peak) == (0, 10)


def test_a_second_one_waits_for_room() -> None:
    budget, entered = ByteBudget(10), threading.Event()

    def second() -> None:
        with budget.take(6):
            entered.set()

    with budget.take(5):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.1)
    thread.join(5)
    assert entered.is_set()
    assert budget.peak == 6


@settings(max_examples=30)
@given(st.lists(st.integers(0, 15), min_size=1, max_size=30))
def test_many_threads_stay_within_it_and_all_finish(sizes: list[int]) -> None:
    budget = ByteBudget(10)

    def take(size: int) -> int:
        with budget.take(size):
            # one that is larger than the budget runs alone
            return budget.held if size <= 10 else 0

    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(take, sizes, timeout=30))
    assert max(held) <= max(10, *sizes)
    assert budget.peak <= max(10, *sizes)
    assert budget.held == 0


def test_one_that_is_larger_than_the_budget_runs_alone() -> None:
    budget, entered = ByteBudget(10), threading.Event()

    def small() -> None:
        with budget.take(1):
            entered.set()

    with budget.take(100):
        thread = threading.Thread(target=small)
        thread.start()
        assert not entered.wait(0.1)
    thread.join(5)
    assert entered.is_set()
    assert budget.peak == 100


def test_the_process_has_one_of_half_its_available_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 1000

    monkeypatch.setattr(module.psutil, "virtual_memory", Memory)
    assert decode_budget().total == 500
    assert decode_budget() is decode_budget()


def test_it_can_be_set_and_sized_anew() -> None:
    laion_xr.set_decode_budget(123)
    assert laion_xr.decode_budget().total == 123
    set_decode_budget(None)
    assert decode_budget().total > 1000
