"""What the published loader's documentation names is there, with the parameters that it documents."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

import laion_xr.compat as laion_fmri
from laion_xr.compat.captions import Captions
from laion_xr.compat.embeddings import Embeddings
from laion_xr.compat.group import Group
from laion_xr.compat.segmentations import Segmentations
from laion_xr.compat.stimuli import Stimuli, StimulusImages
from laion_xr.compat.subject import Subject
from laion_xr.compat.trialwise import TrialCaptions, TrialEmbeddings, TrialImages, TrialSegmentations

# Written down from the published pages (Load, Discover, Download, Template space, the API reference): parameters in
# their order, `=` and the default as the pages print it, `*` before those that are named only, `...` for any default,
# `+` where this package has more after them
FUNCTIONS = {
    "subject": {"load_subject": "subject"},
    "group": {"load_subjects": "subjects"},
    "config": {"dataset_initialize": "path", "get_data_dir": ""},
    "discovery": {
        "get_subjects": "",
        "get_rois": "subject=None, category=None",
        "describe": "",
        "inspect_bucket": "",
    },
    "splits": {
        "list_pools": "",
        "list_splits": "",
        "list_ood_types": "",
        "load_split": "name, pool",
        "load_all_splits": "pool",
        "get_train_test_ids": "name, pool, variant_id=0, ood_types=None",
        "get_split_masks": "trials, name, pool, variant_id=0, ood_types=None",
    },
    "stimuli": {"load_stimuli": "data_dir=None"},
    "embeddings": {"load_embeddings": "models='all', data_dir=None"},
    "download": {
        "download": "subject, ses=None, task=None, space=None, desc=None, stat=None, suffix=None, extension=None, "
        "include_stimuli=False, include_embeddings=False, include_freesurfer=False, include_anatomical=False, "
        "n_jobs=1, include_raw=False",
        "download_raw": "subject, ses=None, task=None, run=None, echo=None, part=None, suffix=None, "
        "extension=None, n_jobs=1",
        "download_stimuli": "data_dir=None, server_url=...",
        "download_embeddings": "models='all', data_dir=None, n_jobs=1",
        "download_segmentations": "data_dir=None",
        "download_captions": "data_dir=None",
        "accept_license": "",
        "accept_licenses": "include_stimuli=False",
        "request_stimulus_access": "server_url=...",
    },
    "_paths": {"glmsingle_subject_dir": "data_dir, subject", "r2mean_path": "data_dir, subject"},
}
SUBJECT = {
    "get_sessions": "",
    "get_brain_mask": "source='anatomical', res='1pt8'",
    "get_n_voxels": "source='anatomical', res='1pt8'",
    "get_betas": "session, roi=None, mask=None, nc_threshold=None, stimuli=None, streaming=False, "
    "mask_source='anatomical'",
    "get_noise_ceiling": "session=None, desc=None, roi=None, mask=None, mask_source='anatomical'",
    "get_trial_info": "session",
    "get_available_rois": "category=None",
    "get_available_categories": "",
    "get_roi_mask": "query, mask_source='anatomical'",
    "get_roi_masks": "queries, +",
    "get_roi_data": "query, format=None, hemi=None, +",
    "get_n_stimuli": "stimuli=None",
    "has_stimuli": "",
    "to_nifti": "values, output_path, roi=None, mask=None, mask_source='anatomical'",
    "get_voxel_coordinates": "roi=None, mask=None, mask_source='anatomical'",
    "to_template": "values, target, *hemi=None, *route='auto', *surface='white', *fsaverage_density='fsaverage5', "
    "*fslr_density='32k', *interpolation='linear', *output_dir=None, *desc=None, *session=None, "
    "*mask_source='anatomical'",
    "volume_to_template": "values, target, +",
    "volume_to_surface": "values, target='fsaverage', +",
    "surface_to_template": "values, target='fsaverage', +",
    "has_anatomical": "",
    "get_anatomical_dir": "",
    "get_t1w": "*res=None",
    "get_t2w": "*res=None",
    "get_anatomical_brain_mask": "*res=None",
    "has_freesurfer": "",
    "get_freesurfer_dir": "",
    "to_torch_dataset": "**kwargs",
    "has_raw": "session=None",
    "get_events": "session, run=None",
    "get_raw_bold": "session, run, echo=..., +",
    "get_sbref": "session, run, echo=..., +",
    # of older versions
    "get_images": "stimuli=None, format='pil'",
    "get_image": "idx",
    "get_stimulus_metadata": "",
}
CLASSES: dict[type, dict[str, str]] = {
    Subject: SUBJECT,
    Group: {
        "get_shared_betas": "session, roi=None, mask=None, nc_threshold=None, +",
        "get_shared_images": "format='pil'",
        "get_shared_stimulus_metadata": "",
    },
    TrialImages: {
        "get": "trial_idx, *as_displayed=True",
        "all": "session=None, *as_displayed=True",
        "array": "session=None",
    },
    TrialEmbeddings: {"get": "model, trial_idx", "all": "model, session=None"},
    TrialSegmentations: {
        "has_image": "trial_idx",
        "nouns": "trial_idx, localized_only=True",
        "for_image": "trial_idx",
        "get": "trial_idx, noun, instance=0",
    },
    TrialCaptions: {
        "list": "trial_idx, source=None",
        "human": "trial_idx, limit=None",
        "ai": "trial_idx",
        "for_image": "trial_idx",
    },
    Stimuli: {"close": ""},
    StimulusImages: {"get": "key, *as_displayed=True", "index_of": "name", "names": ""},
    Embeddings: {"get": "model, image_name", "close": ""},
    Segmentations: {
        "get": "image_name, noun, instance=0",
        "for_image": "image_name",
        "nouns": "image_name, localized_only=True",
        "has_image": "image_name",
        "images": "",
        "close": "",
    },
    Captions: {
        "get": "image_name",
        "human": "image_name, limit=None",
        "list": "image_name, source=None",
        "ai": "image_name",
        "images": "",
    },
}
PROPERTIES = {
    Subject: ["subject_id", "metadata", "images", "embeddings", "segmentations", "captions"],
    Stimuli: ["metadata", "images", "embeddings", "segmentations", "captions"],
    Embeddings: ["models", "image_ids"],
    Segmentations: ["metadata"],
    Captions: ["metadata"],
}
TOP = [
    "load_subject", "load_subjects", "load_stimuli", "load_embeddings", "Subject", "Group", "Stimuli", "Embeddings",
    "Segmentations", "Captions", "download_stimuli", "download_embeddings", "download_segmentations",
    "download_captions", "subject", "group", "config", "discovery", "splits", "stimuli", "download", "errors",
    "DataDirNotSetError", "DataNotDownloadedError", "LicenseNotAcceptedError", "StimuliNotDownloadedError",
    "SubjectNotFoundError", "__version__", "as_displayed_rgb", "dataset_initialize", "describe", "get_data_dir",
    "get_rois", "get_subjects", "request_stimulus_access", "resolve_subject_id", "set_data_dir",
]  # fmt: skip
ERRORS = {
    "DataDirNotSetError": Exception,
    "DataNotDownloadedError": FileNotFoundError,
    "StimuliNotDownloadedError": FileNotFoundError,
    "SubjectNotFoundError": ValueError,
    "LicenseNotAcceptedError": RuntimeError,
}


def spelled(function: Callable[..., Any], method: bool) -> str:
    """Return the parameters of a function as the tables have them."""
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[int(method) :]:
        star = {parameter.KEYWORD_ONLY: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        found.append(f"{star}{parameter.name}{default}")
    return ", ".join(found)


def agrees(found: str, published: str) -> bool:
    """Whether parameters are those of a table."""
    pattern = re.escape(published).replace(re.escape("..."), "[^,]+")
    return re.fullmatch(re.sub(r"\\\+$", ".+", pattern), found) is not None


@pytest.mark.parametrize(
    ("module", "name", "published"), [(m, n, p) for m, names in FUNCTIONS.items() for n, p in names.items()]
)
def test_function_has_the_published_parameters(module: str, name: str, published: str) -> None:
    found = spelled(getattr(import_module(f"laion_xr.compat.{module}"), name), method=False)
    assert agrees(found, published), found


@pytest.mark.parametrize(
    ("owner", "name", "published"),
    [(c, n, p) for c, names in CLASSES.items() for n, p in names.items()],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_method_has_the_published_parameters(owner: type, name: str, published: str) -> None:
    found = spelled(getattr(owner, name), method=True)
    assert agrees(found, published), found


def test_published_properties_are_there() -> None:
    assert [(c, n) for c, names in PROPERTIES.items() for n in names if not hasattr(c, n)] == []
    assert [name for name in TOP if not hasattr(laion_fmri, name)] == []


def test_modules_are_not_hidden_by_functions() -> None:
    # from laion_fmri.download import download
    for name in ("download", "stimuli", "subject", "splits", "config"):
        assert inspect.ismodule(getattr(laion_fmri, name)), name


def test_the_five_errors_are_those_of_the_package_and_of_the_published_kinds() -> None:
    for module in ("errors", "_errors"):
        errors = import_module(f"laion_xr.compat.{module}")
        assert sorted(errors.__all__) == sorted(ERRORS)
        for name, kind in ERRORS.items():
            assert issubclass(getattr(errors, name), kind)
            assert getattr(errors, name) is getattr(import_module("laion_xr.errors"), name)


def test_comparison_of_signatures_can_fail() -> None:
    assert agrees("a, b=None", "a, b=...")
    assert not agrees("a, b=None, c=1", "a, b=...")
    assert not agrees("a, c=None", "a, b=None")
    assert agrees("a, b=None, c=1", "a, b=None, +")
    assert not agrees("a, c=1", "a, b=None, +")
