"""The paths of the published layout, spelled out, and the way back from a name."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr import layout

BETAS = "derivatives/glmsingle-tedana/sub-03"
SESSION = f"{BETAS}/ses-07/func/sub-03_ses-07_task-images_"
ANAT = "derivatives/anatomical/sub-03/ses-PrismaAnat/anat/sub-03_ses-PrismaAnat_space-T1w"
ROIS = "derivatives/rois/sub-03/face/sub-03"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            layout.session_path("sub-03", "ses-07", "betas"),
            f"{SESSION}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz",
        ),
        (
            layout.session_path("sub-03", "ses-07", "betas", ".nii"),
            f"{SESSION}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii",
        ),
        (layout.session_path("sub-03", "ses-07", "trials"), f"{SESSION}desc-SingletrialBetas_trials.tsv"),
        (
            layout.session_path("sub-03", "ses-07", "noise_ceiling"),
            f"{SESSION}space-T1w_desc-Noiseceiling_statmap.nii.gz",
        ),
        (layout.session_path("sub-03", "ses-07", "r2"), f"{SESSION}space-T1w_stat-rsquare_desc-R2_statmap.nii.gz"),
        (layout.session_path("sub-03", "ses-07", "hrf_index"), f"{SESSION}space-T1w_desc-HRFindex_dseg.nii.gz"),
        (layout.session_path("sub-03", "ses-07", "frac_ridge"), f"{SESSION}space-T1w_desc-Fracridge_statmap.nii.gz"),
        (layout.session_path("sub-03", "ses-07", "model"), f"{SESSION}space-T1w_desc-GLMsingle_model.h5"),
        (
            layout.subject_path("sub-03", "r2_mean"),
            f"{BETAS}/sub-03_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz",
        ),
        (
            layout.subject_path("sub-03", "noise_ceiling_12rep"),
            f"{BETAS}/sub-03_task-images_space-T1w_desc-Noiseceiling12rep_statmap.nii.gz",
        ),
        (
            layout.subject_path("sub-03", "noise_ceiling_4rep"),
            f"{BETAS}/sub-03_task-images_space-T1w_desc-Noiseceiling4rep_statmap.nii.gz",
        ),
        (
            layout.subject_path("sub-03", "noise_ceiling_Allrep"),
            f"{BETAS}/sub-03_task-images_space-T1w_desc-NoiseceilingAllrep_statmap.nii.gz",
        ),
        (layout.brain_mask_path("sub-03"), f"{ANAT}_res-1pt8_desc-brain_mask.nii.gz"),
        (layout.full_brain_mask_path("sub-03"), f"{ANAT}_desc-brain_mask.nii.gz"),
        (layout.anatomical_path("sub-03"), f"{ANAT}_res-1pt8_T1w.nii.gz"),
        (layout.anatomical_path("sub-03", "T2w", functional_grid=False), f"{ANAT}_T2w.nii.gz"),
        (layout.roi_path("sub-03", "face", "FFA1"), f"{ROIS}_space-T1w_res-1pt8_label-FFA1_mask.nii.gz"),
        (
            layout.roi_path("sub-03", "face", "FFA1", "gifti", "R"),
            f"{ROIS}_hemi-R_space-fsnative_label-FFA1_mask.func.gii",
        ),
        (layout.roi_path("sub-03", "face", "FFA1", "label"), f"{ROIS}_hemi-L_space-fsnative_label-FFA1_mask.label"),
        (
            layout.freesurfer_path("sub-03", "mri/transforms", "talairach.xfm"),
            "derivatives/freesurfer/sub-03/mri/transforms/talairach.xfm",
        ),
        (layout.stimulus_path("metadata"), "stimuli/task-images_metadata.csv"),
        (layout.stimulus_path("images"), "stimuli/task-images_stimuli.h5"),
        (layout.stimulus_path("segmentations"), "stimuli/task-images_desc-segmentations.h5"),
        (layout.stimulus_path("segmentations_metadata"), "stimuli/task-images_desc-segmentations_metadata.csv"),
        (layout.stimulus_path("captions"), "stimuli/task-images_desc-captions.csv"),
        (layout.embedding_path("SigLIP2"), "stimuli/task-images_desc-SigLIP2_embeddings.h5"),
        (layout.sidecar_path(f"{SESSION}x_statmap.nii.gz"), f"{SESSION}x_statmap.json"),
    ],
)
def test_paths_are_those_of_the_published_layout(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("name", ["sub-03", "03", "3", 3, "sub-3"])
def test_subject_name_is_canonical(name: str | int) -> None:
    assert layout.subject_name(name) == "sub-03"


@pytest.mark.parametrize("name", ["ses-07", "07", "7", 7])
def test_session_name_is_canonical(name: str | int) -> None:
    assert layout.session_name(name) == "ses-07"


def test_names_that_are_not_numbers_stay() -> None:
    assert layout.subject_name("pilot") == "sub-pilot"
    assert layout.session_name("ses-PrismaAnat") == "ses-PrismaAnat"
    assert layout.session_name(123) == "ses-123"


@pytest.mark.parametrize("name", ["sub-", "sub-03.json", "sub-03_x", "ses-01", "03", "xsub-03", ""])
def test_what_is_not_a_subject(name: str) -> None:
    assert not layout.is_subject(name)


ROI_NAMES = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)


@given(
    category=st.sampled_from(layout.ROI_CATEGORIES),
    roi=ROI_NAMES,
    form=st.sampled_from(["volume", "gifti", "label"]),
    hemi=st.sampled_from("LR"),
)
def test_roi_path_and_back(category: str, roi: str, form: str, hemi: str) -> None:
    parsed = layout.parse_roi_path(layout.roi_path("sub-03", category, roi, form, hemi))
    assert parsed == layout.RoiFile(category, roi, form, "" if form == "volume" else hemi)


@pytest.mark.parametrize(
    "name",
    [
        "sub-03_space-T1w_label-FFA1_mask.nii.gz",  # full resolution: does not align with betas
        "sub-03_space-T1w_res-1pt8_label-FFA1_mask.json",
        "sub-03_space-T1w_res-1pt8_label-FFA1_mask.nii.gz.part",
        "sub-03_hemi-X_space-fsnative_label-FFA1_mask.label",
        ".DS_Store",
    ],
)
def test_other_files_are_no_rois(name: str) -> None:
    assert layout.parse_roi_path(f"derivatives/rois/sub-03/face/{name}") is None


@given(st.text(string.ascii_letters + string.digits, min_size=1, max_size=12))
def test_embedding_path_and_back(model: str) -> None:
    assert layout.embedding_model(layout.embedding_path(model)) == model


def test_other_stimulus_files_are_no_embeddings() -> None:
    assert layout.embedding_model(layout.stimulus_path("images")) is None
