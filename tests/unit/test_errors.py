"""The errors: what they are to callers, and how they read."""

from __future__ import annotations

import inspect
import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr import errors

PUBLISHED = {
    "DataDirNotSetError": Exception,
    "DataNotDownloadedError": FileNotFoundError,
    "StimuliNotDownloadedError": FileNotFoundError,
    "SubjectNotFoundError": ValueError,
    "LicenseNotAcceptedError": RuntimeError,
}
ERRORS = [
    c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception) and not issubclass(c, Warning)
]


@pytest.mark.parametrize(("name", "base"), PUBLISHED.items())
def test_published_errors_have_their_published_bases(name: str, base: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), base)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_one_base_and_picklable(error: type[Exception]) -> None:
    # a task on another process sends its error back pickled
    assert issubclass(error, errors.LaionXRError)
    back = pickle.loads(pickle.dumps(error("what happened")))
    assert type(back) is error
    assert str(back) == "what happened"


def test_unknown_label_is_key_and_value_error_and_reads_as_a_sentence() -> None:
    error = errors.unknown_label("ROI", "FFA3", ["FFA1", "PPA"])
    assert isinstance(error, KeyError)
    assert isinstance(error, ValueError)
    assert str(error) == "ROI 'FFA3' does not exist here. Did you mean 'FFA1'? There are: FFA1, PPA."


def test_nothing_close_and_nothing_there() -> None:
    assert errors.did_you_mean("Session", "ses-01", []) == "Session 'ses-01' does not exist here. There are: none."


def test_many_names_are_cut_and_counted() -> None:
    text = errors.describe_names(range(100), limit=3)
    assert text == "0, 1, 2, ... (100 in all)"


def test_closest_ignores_case_and_returns_the_spelling_that_exists() -> None:
    assert errors.closest("FFa1", ["ffa1", "FFA2", "PPA"])[0] == "ffa1"
    assert errors.closest("zzz", ["FFA1"]) == []


@given(st.lists(st.text(string.ascii_letters, min_size=4, max_size=12), min_size=1, max_size=8, unique_by=str.lower))
def test_a_doubled_letter_finds_the_name(names: list[str]) -> None:
    assert errors.closest(names[0] + names[0][-1], names)[0] == names[0]


def test_missing_extra_says_what_to_install() -> None:
    error = errors.missing_extra("nilearn", "plot", "A brain slice")
    assert isinstance(error, ImportError)
    assert "pip install 'laion-xr[plot]'" in str(error)
    assert "in a checkout of laion_xr, pip install -e '.[plot]'" in str(error)
