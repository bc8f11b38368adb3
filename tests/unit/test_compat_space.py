"""ROIs on the surface, templates and PyTorch of the drop-in layer."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from laion_xr.compat.subject import Subject
from laion_xr.errors import DataNotDownloadedError, MissingExtraError


@pytest.fixture
def sub(dataset_root: Path) -> Subject:
    return Subject("sub-03", dataset_root)


@pytest.fixture
def rois(dataset_root: Path) -> Path:
    return dataset_root / "derivatives/rois/sub-03"


def brain(root: Path) -> np.ndarray[Any, Any]:
    name = "sub-03_ses-PrismaAnat_space-T1w_res-1pt8_desc-brain_mask.nii.gz"
    return np.asarray(nib.load(root / "derivatives/anatomical/sub-03/ses-PrismaAnat/anat" / name).dataobj) != 0


# ROIs in every form


def test_roi_data_are_the_three_kinds_of_files(dataset_root: Path, rois: Path, sub: Subject) -> None:
    found = sub.get_roi_data("FFA1")
    assert list(found) == ["FFA1"]
    tree = found["FFA1"]
    assert list(tree) == ["volume", "gii"]
    volume = np.asarray(nib.load(rois / "face/sub-03_space-T1w_res-1pt8_label-FFA1_mask.nii.gz").dataobj)
    assert tree["volume"].dtype == np.bool_
    np.testing.assert_array_equal(tree["volume"], volume[brain(dataset_root)] != 0)
    assert list(tree["gii"]) == ["hemi-L", "hemi-R"]
    for hemi in "LR":
        stem = rois / f"face/sub-03_hemi-{hemi}_space-fsnative_label-FFA1_mask"
        side = tree["gii"][f"hemi-{hemi}"]
        assert list(side) == ["func.gii", "label"]
        expected = np.asarray(nib.load(f"{stem}.func.gii").darrays[0].data).astype(bool)
        assert side["func.gii"].dtype == np.bool_
        np.testing.assert_array_equal(side["func.gii"], expected)
        assert np.issubdtype(side["label"].dtype, np.integer)
        np.testing.assert_array_equal(side["label"], nib.freesurfer.io.read_label(f"{stem}.label"))


@pytest.mark.parametrize(
    ("form", "hemi", "keys", "sides", "kinds"),
    [
        ("volume", None, ["volume"], None, None),
        ("nii.gz", "L", ["volume"], None, None),
        ("gii", "L", ["gii"], ["hemi-L"], ["func.gii", "label"]),
        ("func.gii", None, ["gii"], ["hemi-L", "hemi-R"], ["func.gii"]),
        ("label", "R", ["gii"], ["hemi-R"], ["label"]),
        ("all", "all", ["volume", "gii"], ["hemi-L", "hemi-R"], ["func.gii", "label"]),
    ],
)
def test_format_and_hemisphere_prune_the_tree(
    sub: Subject, form: str, hemi: str | None, keys: list[str], sides: list[str] | None, kinds: list[str] | None
) -> None:
    tree = sub.get_roi_data("FFA1", format=form, hemi=hemi)["FFA1"]
    assert list(tree) == keys
    if sides is not None:
        assert list(tree["gii"]) == sides
        assert all(list(side) == kinds for side in tree["gii"].values())


def test_category_and_all_give_an_entry_an_roi(rois: Path, sub: Subject) -> None:
    def named(*folders: str) -> list[str]:
        return sorted(
            {p.name.split("label-")[1].split("_mask")[0] for f in folders for p in rois.glob(f"{f}/*.nii.gz")}
        )

    assert sorted(sub.get_roi_data("face", format="volume")) == named("face")
    assert list(sub.get_roi_data("all", format="label", hemi="L")) == named("*")
    assert list(sub.get_roi_data(["PPA", "FFA1", "PPA"], format="volume")) == ["PPA", "FFA1"]


def test_wrong_format_or_hemisphere_is_a_value_error(sub: Subject) -> None:
    with pytest.raises(ValueError, match="format"):
        sub.get_roi_data("FFA1", format="bogus")
    with pytest.raises(ValueError, match="hemi"):
        sub.get_roi_data("FFA1", format="gii", hemi="X")


# Templates


def test_mni305_takes_the_nearest_voxel_through_talairach(dataset_root: Path, sub: Subject) -> None:
    values = np.nan_to_num(sub.get_noise_ceiling(desc="Noiseceiling12rep"))
    image = sub.to_template(values, "MNI305")
    assert isinstance(image, nib.Nifti1Image)
    found = np.asarray(image.dataobj)
    inside = brain(dataset_root)
    volume = np.zeros(inside.shape, dtype=np.float32)
    volume[inside] = values
    # FreeSurfer's affine from mm of T1w space to MNI305, read from the text of the file
    folder = dataset_root / "derivatives/freesurfer/sub-03/mri/transforms"
    lines = (folder / "talairach.xfm").read_text().partition("Linear_Transform")[2].strip("=;\n ").splitlines()
    matrix = np.vstack([np.array([line.strip(" ;").split() for line in lines[-3:]], dtype=float), [0, 0, 0, 1]])
    mask = nib.load(next((dataset_root / "derivatives/anatomical/sub-03").rglob("*res-1pt8_desc-brain_mask.nii.gz")))
    at = np.argwhere(found != 0)
    at = at[np.random.default_rng(0).choice(len(at), 200, replace=False)]
    mm = nib.affines.apply_affine(np.linalg.inv(matrix), nib.affines.apply_affine(image.affine, at))
    voxels = nib.affines.apply_affine(np.linalg.inv(mask.affine), mm)
    near = np.abs(voxels - np.rint(voxels)).max(axis=1) < 0.45  # not on the border of two
    assert near.sum() > 100
    i, j, k = np.rint(voxels[near]).astype(int).T
    np.testing.assert_allclose(found[tuple(at[near].T)], volume[i, j, k], rtol=1e-6)
    assert not np.isnan(found).any()


def test_nan_of_the_values_stays_in_the_template(sub: Subject) -> None:
    values = np.ones(sub.get_n_voxels(), dtype=np.float32)
    values[::2] = np.nan
    found = np.asarray(sub.to_template(values, "MNI305").dataobj)
    assert np.isnan(found).any()
    assert set(np.unique(found[~np.isnan(found)])) == {0, 1}


def test_trials_and_images_go_to_templates_too(sub: Subject, tmp_path: Path) -> None:
    one = sub.get_noise_ceiling(desc="Noiseceiling12rep")
    image = sub.to_template(np.stack([one, 2 * one]), "MNI305")
    alone = np.asarray(sub.to_template(one, "MNI305").dataobj)
    np.testing.assert_allclose(np.asarray(image.dataobj)[..., 1], 2 * alone)
    sub.to_nifti(one, tmp_path / "one.nii.gz")
    from_file = sub.to_template(str(tmp_path / "one.nii.gz"), "MNI305")
    np.testing.assert_array_equal(np.asarray(from_file.dataobj), alone)
    assert np.asarray(sub.volume_to_template(one, "MNI305").dataobj).shape == alone.shape


def test_wrong_targets_and_lengths_are_value_errors(sub: Subject) -> None:
    values = np.ones(sub.get_n_voxels(), dtype=np.float32)
    for call in (
        lambda: sub.to_template(values, "MNI152"),
        lambda: sub.to_template(values[1:], "MNI305"),
        lambda: sub.to_template(values, "MNI305", route="surface"),
        lambda: sub.to_template(values, "fsaverage", hemi="X"),
        lambda: sub.to_template(values, "fsaverage", surface="skull"),
        lambda: sub.volume_to_surface(values, "MNI305"),
        lambda: sub.volume_to_template(values, "fsaverage"),
        lambda: sub.surface_to_template(values, "MNI305"),
        lambda: sub.surface_to_template(values),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            call()


@pytest.fixture
def fsaverage(sub: Subject) -> dict[str, np.ndarray[Any, Any]]:
    """A constant on fsaverage5; a skip where nilearn has no fsaverage5 on this machine."""
    try:
        return dict(sub.to_template(np.full(sub.get_n_voxels(), 3, dtype=np.float32), "fsaverage"))
    except DataNotDownloadedError as error:
        pytest.skip(f"fsaverage5 is not here and cannot be fetched: {error}")


def test_fsaverage_has_the_vertices_of_its_density(sub: Subject, fsaverage: dict[str, Any]) -> None:
    assert list(fsaverage) == ["L", "R"]
    for side, values in fsaverage.items():
        assert values.shape == (10_242,)
        assert np.isfinite(values).any()
        np.testing.assert_allclose(values[np.isfinite(values)], 3, rtol=1e-5)
        alone = sub.volume_to_surface(np.full(sub.get_n_voxels(), 3, dtype=np.float32), hemi=side)
        np.testing.assert_array_equal(alone, values)


def test_surface_values_go_to_fsaverage(sub: Subject, fsaverage: dict[str, Any]) -> None:
    masks = sub.get_roi_data("FFA1", format="func.gii")["FFA1"]["gii"]
    both = {side: np.full(masks[f"hemi-{side}"]["func.gii"].size, 5.0) for side in fsaverage}
    found = sub.surface_to_template(both)
    assert {side: values.shape for side, values in found.items()} == {"L": (10_242,), "R": (10_242,)}
    np.testing.assert_allclose(found["L"], 5, rtol=1e-6)  # rows of weights
    moved = sub.surface_to_template(masks["hemi-L"]["func.gii"], hemi="L")
    assert 0 <= moved.min() <= moved.max() <= 1
    with pytest.raises(ValueError, match="vertices"):
        sub.surface_to_template(both["L"][1:], hemi="L")


def test_results_are_written_under_their_names_in_bids(sub: Subject, fsaverage: dict[str, Any], tmp_path: Path) -> None:
    values = sub.get_noise_ceiling(desc="Noiseceiling12rep")
    image = sub.to_template(values, "MNI305", output_dir=tmp_path, desc="MeanBeta", session="ses-01")
    both = sub.to_template(values, "fsaverage", output_dir=str(tmp_path), desc="MeanBeta", session="ses-01")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "sub-03_ses-01_space-MNI305_desc-MeanBeta_statmap.nii.gz",
        "sub-03_ses-01_space-fsaverage_den-10k_hemi-L_desc-MeanBeta_statmap.func.gii",
        "sub-03_ses-01_space-fsaverage_den-10k_hemi-R_desc-MeanBeta_statmap.func.gii",
    ]
    written = nib.load(tmp_path / "sub-03_ses-01_space-MNI305_desc-MeanBeta_statmap.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(image.dataobj))
    for side, expected in both.items():
        name = f"sub-03_ses-01_space-fsaverage_den-10k_hemi-{side}_desc-MeanBeta_statmap.func.gii"
        np.testing.assert_array_equal(nib.load(tmp_path / name).darrays[0].data, expected)


# PyTorch


def test_torch_dataset_pairs_betas_and_images(dataset_root: Path, sub: Subject) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra torch)")
    dataset = sub.to_torch_dataset(session="ses-02", roi="FFA1")
    assert isinstance(dataset, torch.utils.data.Dataset)
    func = dataset_root / "derivatives/glmsingle-tedana/sub-03/ses-02/func/sub-03_ses-02_task-images_"
    betas = np.asarray(nib.load(f"{func}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz").dataobj)
    table = pd.read_csv(f"{func}desc-SingletrialBetas_trials.tsv", sep="\t")
    mask = brain(dataset_root)
    roi = np.asarray(
        nib.load(dataset_root / "derivatives/rois/sub-03/face/sub-03_space-T1w_res-1pt8_label-FFA1_mask.nii.gz").dataobj
    )
    names = pd.read_csv(dataset_root / "stimuli/task-images_metadata.csv")["image_name"].tolist()
    assert len(dataset) == len(table)
    repeats = table.groupby("label").cumcount()
    assert repeats.max() > 0
    opaque = np.flatnonzero(table["label"].str.endswith(".jpg"))  # a JPEG has no transparency to be blended
    for trial in (opaque[0], opaque[repeats[opaque].argmax()], opaque[-1]):
        item = dataset[trial]
        assert sorted(item) == ["betas", "image", "image_name", "rep_index", "session"]
        name = table["label"][trial]
        with h5py.File(dataset_root / "stimuli/task-images_stimuli.h5") as file:
            data = np.asarray(file["images"][names.index(name)]).tobytes()
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float32) / 255
        assert item["betas"].dtype == item["image"].dtype == torch.float32
        np.testing.assert_array_equal(item["betas"].numpy(), betas[..., trial][mask & (roi != 0)])
        np.testing.assert_array_equal(item["image"].numpy(), pixels.transpose(2, 0, 1))
        assert (item["image_name"], item["session"], item["rep_index"]) == (name, "ses-02", repeats[trial])


def test_torch_dataset_is_batched_transformed_and_pickled(sub: Subject) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra torch)")
    mask = np.arange(sub.get_n_voxels()) < 7
    dataset = sub.to_torch_dataset(session="ses-01", mask=mask, image_transform=torch.Tensor.mean)
    batch = next(iter(torch.utils.data.DataLoader(pickle.loads(pickle.dumps(dataset)), batch_size=4)))
    assert batch["betas"].shape == (4, 7)
    assert batch["image"].shape == (4,)
    assert batch["image_name"] == sub.metadata["image_name"].tolist()[:4]


def test_without_pytorch_the_extra_is_named(sub: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    monkeypatch.delitem(__import__("sys").modules, "laion_xr.compat.torch_data", raising=False)
    with pytest.raises(MissingExtraError, match=r"laion-xr\[torch\]"):
        sub.to_torch_dataset(session="ses-01")
