"""The trial table, against pandas by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import TrialTableError
from laion_xr.trials import (
    check_count,
    full_table,
    offsets,
    parse_trials,
    stimulus_columns,
    stimulus_rows,
    unknown_trials,
)

NAMES = ["shared_12rep_LAION_cluster_1003_i0.jpg", "shared_4rep_OOD_gabor_a.png", "unique_LAION_initial_2_p01.jpg", ""]
HEADER = "session\trun\tbeta_index\tlabel"


def tsv(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def parsed(*rows: str, header: str = HEADER, session: str = "ses-01") -> pd.DataFrame:
    return parse_trials(tsv(*rows, header=header), session, "trials.tsv")


def test_columns_of_the_published_table() -> None:
    table = parsed("ses-01\t1\t0\ta.jpg", "ses-01\t2\t1\tb.jpg")
    assert table["stimulus"].tolist() == ["a.jpg", "b.jpg"]
    assert table["run"].tolist() == [1, 2]
    assert table["beta_index"].tolist() == [0, 1]
    assert table["session_trial"].tolist() == [0, 1]
    assert table["session"].tolist() == ["ses-01", "ses-01"]


def test_session_is_that_of_the_folder_as_the_dataset_spells_it() -> None:
    assert parsed("1\t1\t0\ta.jpg")["session"].tolist() == ["ses-01"]
    assert parsed("1\t0\ta.jpg", header="run\tbeta_index\tlabel")["session"].tolist() == ["ses-01"]


def test_other_columns_come_along() -> None:
    table = parsed("1\t1\t0\ta.jpg\t0.25\tleft", header=f"{HEADER}\tresponse_time\tbutton")
    assert table["response_time"].tolist() == [0.25]
    assert table["button"].tolist() == ["left"]


def test_columns_that_are_not_there_are_counted_or_unknown() -> None:
    table = parsed("a.jpg", "b.jpg", header="label")
    assert table["beta_index"].tolist() == [0, 1]
    assert table["run"].tolist() == [-1, -1]


def test_numeric_names_stay_text() -> None:
    assert parsed("1\t1\t0\t17", "1\t1\t1\t18")["stimulus"].tolist() == ["17", "18"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tsv("1\ta.jpg", header="run\timage"), r"expected a column 'label' .*found run, image"),
        (tsv("1\tone\t0\ta.jpg"), r"a run that is not a whole number in row 0: 'one'"),
        (tsv("1\t1\t0.5\ta.jpg"), r"a beta_index that is not a whole number in row 0"),
        (tsv("1\t1\t1\ta.jpg", "1\t1\t0\tb.jpg"), r"not in the order of the volumes: expected beta_index 0 in row 0"),
    ],
)
def test_broken_table_says_where_and_what(data: bytes, message: str) -> None:
    with pytest.raises(TrialTableError, match=f"^trials.tsv .*{message}.*download it again"):
        parse_trials(data, "ses-01", "trials.tsv")


def test_beta_index_may_begin_at_one_or_go_on_over_sessions() -> None:
    assert parsed("1\t1\t1\ta.jpg", "1\t1\t2\tb.jpg")["beta_index"].tolist() == [1, 2]
    assert parsed("2\t1\t500\ta.jpg", "2\t1\t501\tb.jpg")["beta_index"].tolist() == [500, 501]


@pytest.mark.parametrize(("rows", "word"), [(3, "too few"), (7, "too many")])
def test_rows_that_do_not_fit_the_volumes(rows: int, word: str) -> None:
    with pytest.raises(TrialTableError, match=rf"^t.tsv has {word} rows: expected 5, .* of b.nii, found {rows}"):
        check_count(rows, 5, "t.tsv", "b.nii")
    check_count(5, 5, "t.tsv", "b.nii")


sessions = st.lists(st.lists(st.sampled_from(NAMES), max_size=6), min_size=1, max_size=4)


@given(sessions)
def test_full_table_by_hand(labels: list[list[str]]) -> None:
    tables = [parsed(*(f"x\t1\t{i}\t{n}" for i, n in enumerate(s)), session=f"ses-{k}") for k, s in enumerate(labels)]
    table = full_table(tables)
    flat = [(f"ses-{k}", i, name) for k, names in enumerate(labels) for i, name in enumerate(names)]
    assert table["trial"].tolist() == list(range(len(flat)))
    assert list(zip(table["session"], table["session_trial"], table["stimulus"], strict=True)) == flat
    names = [name for *_, name in flat]
    # how often it was seen before; a trial without a name is the first of its own
    assert table["repetition"].tolist() == [names[:i].count(name) if name else 0 for i, name in enumerate(names)]
    found = offsets({f"ses-{k}": t for k, t in enumerate(tables)})
    assert found == {f"ses-{k}": sum(map(len, labels[:k])) for k in range(len(labels))}


def test_columns_that_only_some_sessions_have() -> None:
    extra = parsed("x\t1\t0\ta.jpg\t7", header=f"{HEADER}\trating")
    table = full_table([extra, parsed("x\t1\t0\ta.jpg")])
    assert table["rating"].tolist()[0] == 7
    assert pd.isna(table["rating"][1])


def test_session_without_a_table_counts_its_trials() -> None:
    table = full_table([parsed("x\t1\t0\ta.jpg"), unknown_trials("ses-02", 2), parsed("x\t1\t0\ta.jpg")])
    assert table["session"].tolist() == ["ses-01", "ses-02", "ses-02", "ses-01"]
    assert table["stimulus"].tolist() == ["a.jpg", "", "", "a.jpg"]
    assert table["run"].tolist() == [1, -1, -1, 1]
    assert table["repetition"].tolist() == [0, 0, 0, 1]
    assert table["stimulus_index"].tolist() == [-1] * 4
    assert table["unique_or_shared"].tolist() == [""] * 4


METADATA = pd.DataFrame(
    {
        "image_name": ["odd.jpg", NAMES[1], "odd.jpg", NAMES[0]],
        "dataset": ["other", "OOD", "twice", np.nan],
        "participant": ["sub-01", "all", "x", "all"],
        "unique_or_shared": ["unique", "shared", "shared", np.nan],
        "n_reps": [1, 4, 1, 12],
    }
)


def test_metadata_win_over_the_name() -> None:
    columns = stimulus_columns(np.array([*NAMES, "odd.jpg"], dtype=object), METADATA)
    assert columns["stimulus_index"].tolist() == [3, 1, -1, -1, 0]  # the first of several
    # NaN in the metadata, or no row: the prefix of the name; neither: unknown
    assert columns["unique_or_shared"].tolist() == ["shared", "shared", "unique", "", "unique"]
    assert columns["dataset"].tolist() == ["LAION", "OOD", "LAION", "", "other"]
    assert {n: str(v.dtype) for n, v in columns.items()} == {
        "stimulus_index": "int64",
        "unique_or_shared": "object",
        "dataset": "object",
    }


def test_without_metadata_the_prefix_decides() -> None:
    columns = stimulus_columns(np.array([*NAMES, "odd.jpg"], dtype=object), None)
    assert columns["stimulus_index"].tolist() == [-1] * 5
    assert columns["unique_or_shared"].tolist() == ["shared", "shared", "unique", "", ""]
    assert columns["dataset"].tolist() == ["LAION", "OOD", "LAION", "", ""]


@given(st.lists(st.sampled_from("abcdef"), max_size=8), st.lists(st.sampled_from("abcdefgh"), max_size=8))
def test_metadata_rows_by_a_naive_loop(image_names: list[str], names: list[str]) -> None:
    metadata = pd.DataFrame({"image_name": np.array(image_names, dtype=object)})
    expected = [image_names.index(n) if n in image_names else -1 for n in names]
    assert stimulus_rows(metadata, np.array(names, dtype=object)).tolist() == expected


@pytest.mark.parametrize(
    "column", ["trial", "stimulus", "session_trial", "repetition", "stimulus_index", "dataset", "unique_or_shared"]
)
def test_a_column_that_is_called_as_one_of_the_dataset_is_kept_aside(column: str) -> None:
    table = full_table([parsed("x\t1\t0\ta.jpg\t17", header=f"{HEADER}\t{column}")])
    assert table["stimulus"].tolist() == ["a.jpg"]
    assert table["trial"].tolist() == [0]
    assert table[f"table_{column}"].astype(str).tolist() == ["17"]
