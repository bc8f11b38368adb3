"""The arguments of `simulate`: what is understood, what is refused and how, and what is never overwritten."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from laion_xr.errors import SelectionError, SubjectNotFoundError, UnknownLabelError
from laion_xr.simulate import simulate
from laion_xr.simulate.settings import settings

TINY = {"subjects": [3], "sessions": 1, "trials": 8, "grid": 8, "stimuli": False, "surfaces": False, "models": False}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (1, ("sub-01",)),
        (3, ("sub-01", "sub-03", "sub-05")),
        ([3], ("sub-03",)),
        (["03", "sub-07"], ("sub-03", "sub-07")),
        ("sub-05", ("sub-05",)),
        (np.int64(2), ("sub-01", "sub-03")),
        (7, ("sub-01", "sub-03", "sub-05", "sub-06", "sub-07", "sub-02", "sub-04")),
        (None, ("sub-01", "sub-03")),
    ],
)
def test_subjects(given, names):
    assert settings(given).subjects == names


@pytest.mark.parametrize(
    ("given", "names"),
    [(2, ("ses-01", "ses-02")), ([1, "3", "ses-12"], ("ses-01", "ses-03", "ses-12")), ("04", ("ses-04",))],
)
def test_sessions(given, names):
    assert settings(1, given).sessions == names


def test_trials_are_one_number_one_a_session_or_a_mapping():
    assert settings(1, 3, 20).trials == (20, 20, 20)
    assert settings(1, 3, [20, 22, 21]).trials == (20, 22, 21)
    assert settings(1, [1, 5], {5: 9, "ses-01": 7}).trials == (7, 9)


def test_full_size_is_one_published_session():
    full = settings(full_size=True)
    assert (full.subjects, full.sessions, full.trials) == (("sub-01",), ("ses-01",), (1044,))
    assert full.grid == (143, 143, 143)
    assert (full.stimulus_parts, full.surfaces, full.models) == ((), False, False)
    assert settings(full_size=True, trials=10, surfaces=True).surfaces


def test_embedding_dims():
    assert dict(settings(embedding_dims=5).embedding_dims) == {"CLIP": 5, "DINOv2": 5, "PEcore": 5, "SigLIP2": 5}
    assert dict(settings(embedding_dims={"CLIP": 9}).embedding_dims)["CLIP"] == 9
    assert dict(settings(embedding_dims="published").embedding_dims)["SigLIP2"] == 1152


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": 0}, "subjects must be a whole number of at least 1: got 0"),
        ({"subjects": []}, "subjects must be a count of at least 1, or a list"),
        ({"subjects": [3, "sub-03"]}, "distinct names"),
        ({"subjects": ["a/b"]}, "letters and digits only"),
        ({"subjects": "0"}, "subjects must be a count of at least 1, or a list of distinct names or numbers, from 1"),
        ({"subjects": [3, 0]}, "from 1"),
        ({"sessions": 0}, "sessions must be a whole number of at least 1: got 0"),
        ({"sessions": "0"}, "sessions must be a count of at least 1"),
        ({"sessions": ["ses-00"]}, "from 1"),
        ({"sessions": ["pilot"]}, "sessions are numbered"),
        ({"trials": 0}, "trials must be a whole number of at least 1: got 0"),
        ({"trials": 2.5}, "trials must be a whole number or a list: got 2.5"),
        ({"subjects": 1.5}, "subjects must be a whole number or a list: got 1.5"),
        ({"grid": "big"}, "grid must be a whole number or a list: got 'big'"),
        ({"sessions": 2, "trials": [5, 6, 7]}, "got 3 numbers for 2 sessions"),
        ({"sessions": 2, "trials": {1: 5}}, "trials must name each session once"),
        ({"grid": (4, 9, 9)}, "grid must be a whole number from 6 to 1000: got 4"),
        ({"grid": (9, 9)}, "grid must be one number or three"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": True}, "seed must be a whole number"),
        ({"n_features": 3}, "n_features must be a whole number of at least 8"),
        ({"brain_fraction": 0.9}, "brain_fraction must lie between"),
        ({"image_size": 2}, "image_size must be"),
        ({"embedding_dims": "real"}, "'published'"),
        ({"embedding_dims": {"clip": 3}}, "'CLIP', 'DINOv2'"),
        ({"stimuli": ["pictures"]}, "a part of stimuli must be one of 'metadata'"),
        ({"model_layout": "mask"}, "model_layout must be one of 'grid'"),
        ({"compress_level": 12}, "compress_level must be a whole number from 0 to 9"),
        ({"image_names": ["cat.jpg"]}, "'cat.jpg' does not"),
    ],
)
def test_what_means_nothing_is_one_clear_sentence(arguments, message, tmp_path):
    with pytest.raises(SelectionError, match=message) as error:
        simulate(tmp_path / "new", **arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_simulated_dataset_is_replaced_only_when_told(tmp_path: Path):
    (tmp_path / "README").write_text("mine")
    simulate(tmp_path, **TINY)
    with pytest.raises(SelectionError, match="overwrite=True"):
        simulate(tmp_path, **TINY)
    simulate(tmp_path, **{**TINY, "subjects": [5]}, overwrite=True)
    assert [p.name for p in (tmp_path / "derivatives/glmsingle-tedana").iterdir()] == ["sub-05"]
    assert (tmp_path / "README").read_text() == "mine"
    assert json.loads((tmp_path / "dataset_description.json").read_text())["GeneratedBy"][0]["Complete"] is True


@pytest.mark.parametrize("present", ["derivatives/glmsingle-tedana/sub-03", "stimuli"])
def test_what_was_not_simulated_is_never_touched(tmp_path: Path, present):
    (tmp_path / present).mkdir(parents=True)
    (tmp_path / present / "precious").touch()
    for overwrite in (False, True):
        with pytest.raises(SelectionError, match="never overwritten"):
            simulate(tmp_path, **TINY, overwrite=overwrite)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["precious"]


def test_root_may_not_be_a_file(tmp_path: Path):
    (tmp_path / "x").touch()
    with pytest.raises(SelectionError, match="is a file"):
        simulate(tmp_path / "x", **TINY)


def test_write_false_writes_nothing_and_knows_the_same(tmp_path: Path):
    known = simulate(tmp_path / "a", **TINY, write=False)
    assert not (tmp_path / "a").exists()
    written = simulate(tmp_path / "a", **TINY)
    np.testing.assert_array_equal(known.betas(3, 1), written.betas(3, 1))


def test_truth_names_what_there_is(tmp_path: Path):
    truth = simulate(tmp_path, **TINY, write=False)
    with pytest.raises(SubjectNotFoundError, match="sub-03"):
        truth["sub-04"]
    with pytest.raises(UnknownLabelError, match="ses-01"):
        truth.betas(3, 2)
    with pytest.raises(UnknownLabelError, match=r"stimulus 'x\.jpg'"):
        truth.signal(3, ["x.jpg"])


def test_truth_is_short_to_look_at(tmp_path: Path):
    truth = simulate(tmp_path, **TINY, write=False)
    known = truth["sub-03"]
    n_trials = sum(len(table) for table in known.trials.values())
    assert f"{len(truth.stimuli.names)} images" in repr(truth)
    assert f"seed {truth.seed}, in {tmp_path}" in repr(truth)
    assert repr(known) in repr(truth)
    assert repr(known).startswith("<SubjectTruth sub-03: ")
    assert f"{len(known.trials)} session" in repr(known)
    assert f"{n_trials} trials, {len(known.voxels)} voxels, {len(known.rois)} ROIs" in repr(known)
    assert f"{len(truth.stimuli.names)} images" in repr(truth.stimuli)
    assert len(repr(truth).splitlines()) == 1 + len(truth.subjects)
    assert max(map(len, repr(truth).splitlines())) < 200


def test_an_interrupted_simulation_leaves_no_partial_file_and_can_be_replaced(tmp_path: Path, monkeypatch):
    def stop(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # by its module: the attribute `laion_xr.simulate` is the function
        patch.setattr(importlib.import_module("laion_xr.simulate.sessions"), "trial_betas", stop)
        with pytest.raises(KeyboardInterrupt):
            simulate(tmp_path, **{**TINY, "models": True})
    assert not list(tmp_path.rglob("*SingletrialBetas_statmap.nii*"))
    assert not [p for p in tmp_path.rglob("*") if "partial" in p.name]
    assert json.loads((tmp_path / "dataset_description.json").read_text())["GeneratedBy"][0]["Complete"] is False
    simulate(tmp_path, **TINY, overwrite=True)
