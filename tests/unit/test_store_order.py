"""The order of the voxels on disk: a permutation in which ROIs lie together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.store.order import storage_order

CATEGORIES = {"face": ("FFA1", "OFA"), "laion": ("ventral",), "place": ("PPA",), "body": ("EBA",)}
NAMES = ["FFA1", "OFA", "ventral", "PPA", "EBA"]

memberships = st.lists(st.lists(st.sampled_from(NAMES), unique=True).map("+".join), max_size=60)


def texts(*memberships: str) -> np.ndarray:
    return np.array(memberships, dtype=object)


def ordered(*memberships: str) -> list[str]:
    roi = texts(*memberships)
    return roi[storage_order(roi, CATEGORIES)].tolist()


@given(memberships)
def test_every_voxel_once(roi: list[str]) -> None:
    order = storage_order(texts(*roi), CATEGORIES)
    assert sorted(order.tolist()) == list(range(len(roi)))


@given(memberships)
def test_voxels_of_the_same_rois_lie_together_in_c_order(roi: list[str]) -> None:
    order = storage_order(texts(*roi), CATEGORIES)
    found = [roi[i] for i in order]
    for text in set(roi):
        at = [i for i, t in enumerate(found) if t == text]
        assert at == list(range(at[0], at[0] + len(at)))
        assert order[at].tolist() == sorted(order[at].tolist())


@given(memberships)
def test_the_largest_roi_is_one_stretch_at_the_beginning(roi: list[str]) -> None:
    sizes = {name: sum(name in text.split("+") for text in roi) for name in NAMES}
    largest = min(NAMES, key=lambda name: (-sizes[name], name))
    inside = [largest in roi[i].split("+") for i in storage_order(texts(*roi), CATEGORIES)]
    assert inside == sorted(inside, reverse=True)


def test_an_roi_inside_a_larger_one_is_a_stretch_of_it() -> None:
    found = ordered("", "ventral", "FFA1+ventral", "PPA", "ventral", "FFA1+ventral", "", "OFA")
    assert found[:4] == ["FFA1+ventral", "FFA1+ventral", "ventral", "ventral"]
    assert found[-2:] == ["", ""]


def test_a_name_is_not_a_part_of_another() -> None:
    roi = texts("V1", "V1d", "V1", "V1d", "V1d")
    found = roi[storage_order(roi, {"retinotopy": ("V1", "V1d")})].tolist()
    assert found == ["V1d"] * 3 + ["V1"] * 2


def test_no_rois_and_no_voxels() -> None:
    assert storage_order(texts("", "", ""), {}).tolist() == [0, 1, 2]
    assert storage_order(texts(), CATEGORIES).tolist() == []
