"""Labels of a dimension: which positions a query names, against naive loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import SelectionError, UnknownLabelError
from laion_xr.labels import Labels, MatchContext, warn_of_fraction

texts = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=12)
numbers = st.lists(st.integers(0, 5), min_size=1, max_size=12)
CONTEXT = MatchContext({"face": ["FFA1", "OFA"], "body": ["EBA"]})


def text_array(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=object)


@given(texts, st.sampled_from(["object", "str", "string"]))
def test_text_of_any_type_comes_back_as_python_text(values: list[str], kind: str) -> None:
    array = {"object": text_array(values), "str": np.array(values), "string": pd.array(values, dtype="string")}[kind]
    labels = Labels.of(array)
    assert labels.values().tolist() == values
    assert labels.values().dtype == object


@given(numbers)
def test_numbers_stay_as_they_are(values: list[int]) -> None:
    labels = Labels.of(np.array(values, dtype=np.int16))
    assert labels.names is None
    assert labels.values().dtype == np.int16
    assert labels.values().tolist() == values


@given(texts, st.data())
def test_text_query_by_a_naive_loop(values: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(values), max_size=4))
    labels = Labels.of(text_array(values))
    expected = [v in wanted for v in values]
    for query in (wanted, tuple(wanted), text_array(wanted), pd.Index(wanted, dtype=object)):
        assert labels.match("stimulus", query).tolist() == expected
    assert labels.match("stimulus", values[0]).tolist() == [v == values[0] for v in values]
    assert labels.match("stimulus", xr.DataArray(values[0])).tolist() == [v == values[0] for v in values]


@given(numbers, st.data())
def test_number_query_by_a_naive_loop(values: list[int], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(values), max_size=4))
    labels = Labels.of(np.array(values))
    for query in (wanted, np.array(wanted, dtype=float), xr.DataArray(np.array(wanted, dtype=int))):
        assert labels.match("run", query).tolist() == [v in wanted for v in values]
    assert labels.match("run", values[0]).tolist() == [v == values[0] for v in values]


bounds = st.one_of(st.none(), st.floats(-1, 6))


@given(st.lists(st.floats(0, 5) | st.just(np.nan), min_size=1, max_size=12), bounds, bounds)
def test_slice_of_numbers_is_inclusive_and_leaves_nan_out(values: list[float], low, high) -> None:
    array = np.array(values)
    if np.isnan(array).all():
        return
    found = Labels.of(array).match("r2", slice(low, high))
    expected = [
        (low is None or v >= low) and (high is None or v <= high) and not (np.isnan(v) and (low, high) != (None, None))
        for v in values
    ]
    assert found.tolist() == expected


def test_slice_of_text_is_inclusive_and_alphabetical() -> None:
    labels = Labels.of(text_array(["ses-01", "ses-03", "ses-02", "ses-10"]))
    assert labels.match("session", slice("ses-02", "ses-03")).tolist() == [False, True, True, False]
    assert labels.match("session", slice("ses-03", None)).tolist() == [False, True, False, True]


@given(texts)
def test_mask_of_the_positions(values: list[str]) -> None:
    mask = np.arange(len(values)) % 2 == 0
    for query in (mask, mask.tolist(), xr.DataArray(mask), pd.Series(mask)):
        assert Labels.of(text_array(values)).match("stimulus", query).tolist() == mask.tolist()


@pytest.mark.parametrize("name", ["ses-02", "02", "2", 2, np.int64(2)])
def test_session_by_any_of_its_names(name: object) -> None:
    labels = Labels.of(text_array(["ses-01", "ses-02"]))
    assert labels.match("session", name).tolist() == [False, True]
    assert labels.match("session", [name, "ses-01"]).tolist() == [True, True]


def test_roi_takes_the_grammar() -> None:
    labels = Labels.of(text_array(["FFA1", "FFA1+OFA", "", "OFA"]))
    assert labels.match("roi", "face", CONTEXT).tolist() == [True, True, False, True]
    assert labels.match("roi", "FFA1 - OFA", CONTEXT).tolist() == [True, False, False, False]
    assert labels.match("roi", np.array(["FFA1", "OFA"]), CONTEXT).tolist() == [True, True, False, True]
    assert labels.match("roi", xr.DataArray("OFA"), CONTEXT).tolist() == [False, True, False, True]
    assert not labels.match("roi", "EBA", CONTEXT).any()


@pytest.mark.parametrize(
    ("values", "name", "query", "message"),
    [
        (["ses-01", "ses-02"], "session", "ses-3", "session 'ses-3' does not exist here. Did you mean .*ses-0"),
        (["ses-01"], "session", 9, "session 9 does not exist here. There are: ses-01"),
        (["cat.jpg", "dog.jpg"], "stimulus", ["dog.jpg", "cta.jpg"], "stimulus 'cta.jpg' .* Did you mean 'cat.jpg'"),
        ([1, 2, 3], "run", 7, "run 7 does not exist here. There are: 1, 2, 3"),
        (list(range(100)), "trial", 500, "500 .*100 values from 0 to 99; nearest: .*99.*slice"),
        (["FFA1"], "roi", "FFA3", "'FFA3' .* Did you mean 'FFA1'"),
        ([*np.arange(30.0), np.nan], "noise_ceiling", 7.5, r"30 values from 0\.0 to 29\.0; nearest: \[7\.0, 8\.0"),
    ],
)
def test_unknown_label_names_the_closest(values: list, name: str, query: object, message: str) -> None:
    array = np.array(values, dtype=object if isinstance(values[0], str) else None)
    with pytest.raises(UnknownLabelError, match=message):
        Labels.of(array).match(name, query, MatchContext())


@pytest.mark.parametrize(
    ("values", "name", "query", "message"),
    [
        ([1, 2], "run", "1", "labels of run are numbers, found '1'"),
        ([1, 2], "run", [[1], [2]], "labels of run are numbers"),
        ([1, 2], "run", None, "labels of run are numbers, found None"),
        ([1, 2], "run", slice(0, 2, 2), "takes no step"),
        ([1, 2], "run", slice("a", None), "slice that compares with the labels of run"),
        (["a"], "stimulus", slice(1, None), "slice that compares with the labels of stimulus"),
        (["a"], "stimulus", {"a": 1}, "a label, a list of labels or a slice for stimulus"),
        (["FFA1"], "roi", slice("FFA1", None), "An ROI is selected by a name"),
    ],
)
def test_query_that_means_nothing(values: list, name: str, query: object, message: str) -> None:
    array = np.array(values, dtype=object if isinstance(values[0], str) else None)
    with pytest.raises(SelectionError, match=message):
        Labels.of(array).match(name, query)


@pytest.mark.parametrize("query", [[["a"], "b"], [["a", "b"], ["a"]], object()])
def test_ragged_or_strange_query_is_one_of_our_errors(query: object) -> None:
    for name in ("stimulus", "roi"):
        with pytest.raises((SelectionError, UnknownLabelError)):
            Labels.of(text_array(["a", "b", "c"])).match(name, query, CONTEXT)


@given(texts, st.data())
def test_pick_keeps_every_name_known(values: list[str], data: st.DataObject) -> None:
    pick = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=6))
    labels = Labels.of(text_array(values)).pick(np.array(pick, dtype=int))
    assert labels.values().tolist() == [values[p] for p in pick]
    for value in set(values):  # exists, and may have gone from the selection: no error
        assert labels.match("stimulus", value).tolist() == [values[p] == value for p in pick]


@given(numbers, st.data())
def test_pick_keeps_every_number_known(values: list[int], data: st.DataObject) -> None:
    pick = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=6))
    labels = Labels.of(np.array(values)).pick(np.array(pick, dtype=int))
    for value in set(values):
        assert labels.match("run", value).tolist() == [values[p] == value for p in pick]


@given(st.lists(texts, min_size=1, max_size=3))
def test_concat_of_text(pieces: list[list[str]]) -> None:
    whole = Labels.concat([Labels.of(text_array(p)) for p in pieces])
    assert whole.values().tolist() == [v for p in pieces for v in p]
    assert len(set(whole.names.tolist())) == len(whole.names)


def test_concat_of_numbers_and_of_pieces_of_one() -> None:
    assert Labels.concat([Labels.of([1, 2]), Labels.of([3])]).values().tolist() == [1, 2, 3]
    labels = Labels.of(text_array(["a", "b"]))
    assert Labels.concat([labels.pick([1]), labels.pick([0])]).names is labels.names


@given(texts, texts, st.data())
def test_where_takes_from_whichever_side_has_it(ours: list[str], theirs: list[str], data: st.DataObject) -> None:
    side = st.integers(-1, len(ours) - 1)
    here = data.draw(st.lists(side, min_size=1, max_size=6))
    there = [data.draw(st.integers(0, len(theirs) - 1)) if h < 0 else -1 for h in here]
    found = Labels.of(text_array(ours)).where(np.array(here), Labels.of(text_array(theirs)), np.array(there))
    assert found.values().tolist() == [ours[h] if h >= 0 else theirs[t] for h, t in zip(here, there, strict=True)]


@pytest.mark.parametrize("threshold", [0.2, 1, np.float32(0.5)])
def test_a_threshold_that_looks_like_a_fraction_warns(threshold: float) -> None:
    with pytest.warns(UserWarning, match=r"in percent \(0-100\).*keeps almost every voxel. Did you mean"):
        warn_of_fraction(threshold)
    with pytest.warns(UserWarning, match="in percent"):
        Labels.of([10.0, 20.0]).match("noise_ceiling", slice(threshold, None))


@pytest.mark.parametrize("threshold", [0, 1.5, 30, -1, None])
def test_other_thresholds_do_not_warn(threshold: float | None) -> None:
    warn_of_fraction(threshold)
    Labels.of([10.0, 20.0]).match("noise_ceiling", slice(threshold, None))
    Labels.of([0.1, 0.2]).match("frac_ridge", slice(0.15, None))  # not a ceiling


def test_a_ceiling_whose_map_is_missing_is_an_error_not_an_empty_selection() -> None:
    labels = Labels.of([np.nan, np.nan])
    with pytest.raises(SelectionError, match="their map is not there"):
        labels.match("noise_ceiling", slice(30, None), MatchContext(no_ceiling=True))
    assert not labels.match("noise_ceiling", slice(30, None)).any()  # voxels without a ceiling are just not selected
    assert Labels.of([]).match("noise_ceiling", slice(30, None)).tolist() == []
