"""ROI grammar and memberships, against Python sets and naive loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import SelectionError, UnknownLabelError
from laion_xr.rois import ALIASES, RoiQuery, membership, roi_names

CATEGORIES = {"face": ("FFA1", "OFA"), "place": ("PPA",), "body": ("EBA",), "retinotopy": ("V1d", "V1v", "V2d")}
NAMES = roi_names(CATEGORIES)
N = 30

# ROI -> voxels; EBA exists and is empty
rois = st.fixed_dictionaries(
    {name: st.just(set()) if name == "EBA" else st.sets(st.integers(0, N - 1)) for name in NAMES}
)


def joined(members: dict[str, set[int]], voxel: int) -> str:
    return "+".join(sorted((name for name in members if voxel in members[name]), key=str.lower))


def answer(members: dict[str, set[int]], query: object) -> set[int]:
    """The voxels that a query names, the way a Dataset asks: on the distinct memberships."""
    codes, texts = pd.factorize(np.array([joined(members, v) for v in range(N)], dtype=object))
    return set(np.flatnonzero(RoiQuery(texts, CATEGORIES).match(query)[codes]).tolist())


@given(rois, st.sets(st.integers(0, N - 1)))
def test_membership_of_each_voxel_by_a_naive_loop(members: dict[str, set[int]], mask: set[int]) -> None:
    voxels = np.array(sorted(mask), dtype=np.int64)
    found = membership({name: np.array(sorted(v), dtype=np.int64) for name, v in members.items()}, voxels)
    assert found.dtype == object
    assert found.tolist() == [joined(members, int(v)) for v in voxels]


def test_membership_without_rois_is_empty_text() -> None:
    assert membership({}, np.arange(3)).tolist() == ["", "", ""]


def test_names_in_alphabetical_order_whatever_their_case_and_the_order_given() -> None:
    found = membership({"laionEVC": np.array([0]), "V1v": np.array([0]), "EBA": np.array([0])}, np.array([0]))
    assert found.tolist() == ["EBA+laionEVC+V1v"]


# expressions with the set that Python itself computes: the operators bind as in Python
atoms = st.sampled_from([*NAMES, *CATEGORIES, "all"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["|", "&", "-"]), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("  {}".format),
    ),
    max_leaves=8,
)


@given(rois, expressions)
def test_set_algebra_is_that_of_python_sets(members: dict[str, set[int]], expression: str) -> None:
    names = {name: members[name] for name in NAMES}
    names |= {category: set().union(*(members[r] for r in inside)) for category, inside in CATEGORIES.items()}
    names["all"] = set().union(*members.values())
    assert answer(members, expression) == eval(expression.strip(), {}, names)


@given(rois, st.lists(st.sampled_from([*NAMES, *CATEGORIES, "all", "FFA1 & OFA", "face - V1d"]), max_size=4))
def test_a_list_is_the_union(members: dict[str, set[int]], query: list[str]) -> None:
    assert answer(members, query) == set().union(*(answer(members, q) for q in query))


@given(rois)
def test_membership_string_names_just_those_voxels(members: dict[str, set[int]]) -> None:
    for text in {joined(members, v) for v in range(N)} - set(NAMES):
        assert answer(members, text) == {v for v in range(N) if joined(members, v) == text}


@given(rois)
def test_alias_is_its_parts(members: dict[str, set[int]]) -> None:
    assert answer(members, "V1") == members["V1d"] | members["V1v"]
    assert answer(members, "V2") == members["V2d"]  # V2v does not exist here
    assert answer(members, "visual") == answer(members, "all")
    assert answer(members, "V1 - face") == (members["V1d"] | members["V1v"]) - members["FFA1"] - members["OFA"]


def test_alias_gives_way_to_an_roi_or_category_of_its_name() -> None:
    assert RoiQuery(["V1", "V1d", ""], {"retinotopy": ["V1", "V1d"]}).match("V1").tolist() == [True, False, False]
    assert RoiQuery(["FFA1", "PPA"], {"visual": ["PPA"], "face": ["FFA1"]}).match("visual").tolist() == [False, True]


def test_alias_of_nothing_is_unknown() -> None:
    for alias in set(ALIASES) - {"visual"}:
        with pytest.raises(UnknownLabelError, match=f"ROI or category '{alias}' does not exist here"):
            RoiQuery(["FFA1"], {"face": ["FFA1"]}).match(alias)


def test_empty_roi_category_and_list_name_no_voxel() -> None:
    query = RoiQuery(["FFA1", ""], CATEGORIES)
    for empty in ("EBA", "body", [], ["EBA"], "FFA1 & EBA"):
        assert not query.match(empty).any()


def test_rois_that_only_memberships_know_count() -> None:
    query = RoiQuery(["FFA1+other", "FFA1"], {"face": ["FFA1"]})
    assert query.match("other").tolist() == [True, False]
    assert query.match("all").tolist() == [True, True]


@pytest.mark.parametrize(
    ("query", "close"),
    [("FFA3", "'FFA1'"), ("ffa1", "'FFA1'"), ("faces", "'face'"), ("FFA1 | PPAA", "'PPA'"), (["FFA1", "OPA"], "'PPA'")],
)
def test_unknown_name_is_a_key_error_with_the_closest(query: object, close: str) -> None:
    with pytest.raises(KeyError, match=f"does not exist here. Did you mean .*{close}") as caught:
        RoiQuery(["FFA1"], CATEGORIES).match(query)
    assert isinstance(caught.value, ValueError)
    assert all(name in str(caught.value) for name in [*NAMES, *CATEGORIES, "all"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("FFA1 |", "expected the name of an ROI"),
        ("| FFA1", "expected the name of an ROI"),
        ("(FFA1", "expected a closing parenthesis"),
        ("FFA1)", r"expected an operator before '\)'"),
        ("FFA1 PPA", "expected an operator before 'PPA'"),
        ("()", "expected the name of an ROI"),
        ("FFA1 & & PPA", "expected the name of an ROI"),
    ],
)
def test_expression_that_does_not_parse(query: str, expected: str) -> None:
    with pytest.raises(SelectionError, match=expected) as caught:
        RoiQuery(["FFA1"], CATEGORIES).match(query)
    assert repr(query) in str(caught.value)


@pytest.mark.parametrize("query", [1, 2.5, None, slice("FFA1", "PPA"), ["FFA1", 3], True])
def test_what_is_no_query(query: object) -> None:
    with pytest.raises(SelectionError, match="ROI"):
        RoiQuery(["FFA1"], CATEGORIES).match(query)


def test_names_with_other_signs_are_found_whole() -> None:
    # '-' and '&' are operators, but a name that exists comes first
    query = RoiQuery(["mfs-words", "a&b", "mfs"], {"x": ["mfs-words", "a&b", "mfs"]})
    assert query.match("mfs-words").tolist() == [True, False, False]
    assert query.match("a&b").tolist() == [False, True, False]
