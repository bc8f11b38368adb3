"""Which files are wanted: kinds, sessions, and the entities of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from laion_xr import layout
from laion_xr.access.selection import Selection, StimulusSelection, entities, kind_of, session_of
from laion_xr.errors import SelectionError

SUB = "sub-03"
BETAS = layout.session_path(SUB, "ses-01", "betas")
OTHER = layout.session_path(SUB, "ses-02", "betas")
TRIALS = layout.session_path(SUB, "ses-01", "trials")
MODEL = layout.session_path(SUB, "ses-01", "model")
R2 = layout.session_path(SUB, "ses-01", "r2")
MEAN = layout.subject_path(SUB, "r2_mean")
ROI = layout.roi_path(SUB, "face", "FFA1")
MASK = layout.brain_mask_path(SUB)
T1W = layout.anatomical_path(SUB)
SURFACE = layout.freesurfer_path(SUB, "surf", "lh.white")
FIGURE = f"{layout.session_dir(SUB, 'ses-01')}/figures/{SUB}_ses-01_desc-R2_figure.png"
FILES = [BETAS, OTHER, TRIALS, MODEL, R2, MEAN, ROI, MASK, T1W, SURFACE, FIGURE]
DEFAULT = [BETAS, OTHER, TRIALS, R2, MEAN, ROI, MASK]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, DEFAULT),
        ({"session": 1}, [BETAS, TRIALS, R2, MEAN, ROI, MASK]),
        ({"session": ["ses-01", "02"]}, DEFAULT),
        ({"session": "averages"}, [MEAN, ROI, MASK]),
        ({"session": "all"}, DEFAULT),
        ({"include": "betas"}, [BETAS, OTHER, MASK]),
        ({"include": ["trials", "maps"], "session": "1"}, [TRIALS, R2, MEAN, MASK]),
        ({"include": "model"}, [MODEL, MASK]),
        ({"include": ["default", "model"]}, [*DEFAULT, MODEL]),
        ({"include": "all"}, [*DEFAULT, MODEL, FIGURE]),
        ({"include": "*_trials.tsv"}, [TRIALS, MASK]),
        # a file without the entity passes, as in the published loader
        ({"stat": "effect"}, [BETAS, OTHER, TRIALS, ROI, MASK]),
        ({"stat": ["stat-effect", "rsquare"]}, DEFAULT),
        ({"desc": "SingletrialBetas", "suffix": "statmap"}, [BETAS, OTHER, MASK]),
        ({"desc": "desc-GLMsingle"}, [MODEL, ROI, MASK]),
        ({"suffix": "mask"}, [ROI, MASK]),
        ({"space": "MNI"}, [TRIALS, MASK]),
        ({"anatomical": True}, [*DEFAULT, T1W]),
        ({"surfaces": True}, [*DEFAULT, SURFACE]),
    ],
)
def test_selection(options: dict[str, Any], expected: list[str]) -> None:
    selection = Selection.of(**options)
    assert sorted(path for path in FILES if selection.wants(path)) == sorted(expected)


def test_every_file_of_the_layout_has_its_kind(dataset_root: Path) -> None:
    kinds = {kind_of(path.relative_to(dataset_root).as_posix()) for path in dataset_root.rglob("*") if path.is_file()}
    assert "other" not in kinds
    assert {"betas", "trials", "rois", "brain_mask", "surfaces", "embeddings", "images", "root"} <= kinds


def test_sidecars_go_with_their_files() -> None:
    for path in (BETAS, TRIALS, MODEL, R2, MEAN):
        assert kind_of(layout.sidecar_path(path)) == kind_of(path)


def test_sessions_and_entities() -> None:
    assert session_of(BETAS) == "ses-01"
    assert session_of(MEAN) is None
    assert session_of(T1W) is None  # ses-PrismaAnat is no session of images
    assert entities(R2) == {
        "sub": "03", "ses": "01", "task": "images", "space": "T1w", "stat": "rsquare", "desc": "R2", "suffix": "statmap"
    }  # fmt: skip


def test_images_are_never_wanted() -> None:
    everything = StimulusSelection(True, None, True, True)
    images = layout.stimulus_path("images")
    assert not everything.wants(images)
    assert not Selection.of(include="all").wants(images)
    assert everything.wants(layout.embedding_path("Other"))
    assert not StimulusSelection(True, ("CLIP",)).wants(layout.embedding_path("DINOv2"))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"session": [1, 9]}, "'ses-09'.*There are: ses-01, ses-02"),
        ({"session": "averages"}, None),
        ({"include": "*brain_mask*"}, None),
        (
            {"include": ["betas", "summary"]},
            "'summary'; there are betas, trials, r2, subject_maps, rois, model, figures",
        ),
        ({"stat": "stat-effect", "suffix": ["statmap", "mask"]}, None),
        ({"stat": "EFFECT"}, "Did you mean 'effect'"),
        ({}, None),
    ],
)
def test_names_that_no_file_has(options: dict[str, Any], name: str | None) -> None:
    selection = Selection.of(**options)
    if name is None:
        selection.require_known(FILES, "here")
    else:
        with pytest.raises(SelectionError, match=f"^here: .*{name}"):
            selection.require_known(FILES, "here")


def test_the_mask_comes_and_is_an_answer_only_where_it_is_named() -> None:
    assert not Selection.of(include="betas").answers(MASK)
    assert not Selection.of(suffix="statmap").answers(MASK)
    assert Selection.of(include="*brain_mask*").answers(MASK)
    assert Selection.of(desc="brain").answers(MASK)


@pytest.mark.parametrize(
    "options", [{"include": "Betas"}, {"desc": []}, {"stat": 1.5}, {"session": True}, {"suffix": ""}]
)
def test_arguments_that_mean_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match=next(iter(options))):
        Selection.of(**options)
