"""The documented examples of the published loader, in other words, run on simulated data through the drop-in layer.

Each is written as a user would have it, for `laion_fmri`; `migrated` makes of it what the migration page says. What it
computes is compared with plain nibabel, h5py and pandas on the same files.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from laion_xr.access import configuration
from laion_xr.compat import discovery
from laion_xr.location import Location

Array = np.ndarray[Any, Any]
Splits = dict[str, tuple[list[str], list[str]]]


def migrated(script: str) -> str:
    """Return a script with the imports of the drop-in layer: the one change that the migration page asks for."""
    script = re.sub(r"^(\s*)import laion_fmri$", r"\1import laion_xr.compat as laion_fmri", script, flags=re.MULTILINE)
    return re.sub(r"^(\s*from) laion_fmri\b", r"\1 laion_xr.compat", script, flags=re.MULTILINE)


@dataclass
class Plain:
    """A subject's files as nibabel, h5py and pandas read them."""

    root: Path
    subject: str = "sub-03"

    def volume(self, *parts: str) -> Array:
        (path,) = self.root.joinpath("derivatives").glob("/".join(parts).replace("SUB", self.subject))
        return np.asarray(nib.load(path).dataobj)

    @property
    def mask(self) -> Array:
        return self.volume("anatomical/SUB/*/anat/*_res-1pt8_desc-brain_mask.nii.gz") != 0

    @property
    def sessions(self) -> list[str]:
        folder = self.root / "derivatives/glmsingle-tedana" / self.subject
        return sorted(path.name for path in folder.glob("ses-*"))

    def betas(self, session: str) -> Array:
        data = self.volume(f"glmsingle-tedana/SUB/{session}/func/*SingletrialBetas_statmap.nii.gz")
        return np.stack([data[..., t].ravel()[self.mask.ravel()] for t in range(data.shape[-1])])

    def trials(self, session: str) -> pd.DataFrame:
        folder = self.root / "derivatives/glmsingle-tedana" / self.subject / session / "func"
        return pd.read_csv(next(folder.glob("*_trials.tsv")), sep="\t")

    def every_trial(self) -> pd.DataFrame:
        return pd.concat([self.trials(session) for session in self.sessions], ignore_index=True)

    def ceiling(self, session: str) -> Array:
        return self.volume(f"glmsingle-tedana/SUB/{session}/func/*desc-Noiseceiling_statmap.nii.gz")[self.mask]

    def roi(self, name: str) -> Array:
        return self.volume(f"rois/SUB/*/SUB_space-T1w_res-1pt8_label-{name}_mask.nii.gz")[self.mask] != 0

    def rois(self, category: str = "*") -> list[str]:
        paths = self.root.glob(f"derivatives/rois/{self.subject}/{category}/*.nii.gz")
        return sorted({path.name.split("label-")[1].split("_mask")[0] for path in paths})

    def category(self, category: str) -> Array:
        return np.logical_or.reduce([self.roi(name) for name in self.rois(category)])

    @property
    def stimuli(self) -> pd.DataFrame:
        return pd.read_csv(self.root / "stimuli/task-images_metadata.csv")

    @property
    def masks(self) -> pd.DataFrame:
        return pd.read_csv(self.root / "stimuli/task-images_desc-segmentations_metadata.csv")

    def image(self, name: str) -> Image.Image:
        with h5py.File(self.root / "stimuli/task-images_stimuli.h5") as file:
            data = np.asarray(file["images"][self.stimuli["image_name"].tolist().index(name)]).tobytes()
        return Image.open(io.BytesIO(data))

    def clip(self, names: list[str]) -> Array:
        with h5py.File(self.root / "stimuli/task-images_desc-CLIP_embeddings.h5") as file:
            ids = [name.decode() for name in file["image_ids"][()]]
            return np.stack([file["embedding"][ids.index(name)] for name in names])


@pytest.fixture(scope="module")
def data(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the simulated dataset: scripts write into their data folder."""
    folder = tmp_path_factory.mktemp("compat") / "laion_fmri_data"
    shutil.copytree(dataset_root, folder)
    return folder


@pytest.fixture
def plain(data: Path) -> Plain:
    return Plain(data)


@pytest.fixture(autouse=True)
def own_machine(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without configuration, a bucket that is a folder, a folder to work in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(configuration, "PROCESS", [])
    monkeypatch.setattr(discovery, "bucket", lambda: Location.of(data))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def run(script: str, **names: Any) -> dict[str, Any]:
    """Run a script that was written for the published loader; return its names."""
    found = dict(names)
    exec(compile(migrated(script), "script.py", "exec"), found)
    return found


def test_only_imports_are_changed() -> None:
    script = 'import laion_fmri\nfrom laion_fmri.subject import load_subject\npath = "./laion_fmri_data"\n'
    assert migrated(script) == (
        "import laion_xr.compat as laion_fmri\nfrom laion_xr.compat.subject import load_subject\n"
        'path = "./laion_fmri_data"\n'
    )


QUICKSTART = """
import os
from laion_fmri.config import dataset_initialize, get_data_dir
from laion_fmri.discovery import describe, get_subjects
from laion_fmri.download import download
from laion_fmri.subject import load_subject

dataset_initialize(folder)
configured = get_data_dir()
subjects = get_subjects()
describe()
download(subject="sub-03", ses="ses-01", suffix=["statmap", "trials", "mask"], n_jobs=4)

sub = load_subject("sub-03")
print(f"{sub.subject_id}: {sub.get_sessions()}, {sub.get_n_voxels()} voxels, {sub.get_available_rois()}")
session = "ses-01"
betas_all = sub.get_betas(session=session)
betas_face = sub.get_betas(session=session, roi="face") if sub.get_available_rois(category="face") else None
mean_betas = betas_all.mean(axis=0)
sub.to_nifti(mean_betas, "mean.nii.gz")
sub.to_nifti(sub.get_roi_mask("FFA1").astype("float32"), "FFA1.nii.gz")
nc = sub.get_noise_ceiling(session=session)
print(f"NC: {nc.shape}, {nc.min():.3f} to {nc.max():.3f}")
"""


def test_quickstart(plain: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "quickstart"
    (folder / ".laion_fmri").mkdir(parents=True)
    (folder / ".laion_fmri" / "license_accepted").touch()
    found = run(QUICKSTART, folder=str(folder))
    assert found["configured"] == str(folder)
    assert found["subjects"] == ["sub-01", "sub-03"]
    assert found["sub"].get_sessions() == ["ses-01"]
    betas = plain.betas("ses-01")
    np.testing.assert_array_equal(found["betas_all"], betas)
    np.testing.assert_array_equal(found["betas_face"], betas[:, plain.category("face")])
    np.testing.assert_array_equal(found["nc"], plain.ceiling("ses-01"))
    volume = np.zeros(plain.mask.shape, dtype=np.float32)
    volume[plain.mask] = betas.mean(axis=0)
    np.testing.assert_array_equal(np.asarray(nib.load("mean.nii.gz").dataobj), volume)
    assert np.asarray(nib.load("FFA1.nii.gz").dataobj).sum() == plain.roi("FFA1").sum()
    assert "Subjects:  2 (sub-01, sub-03)" in capsys.readouterr().out


INITIALIZATION = """
from laion_fmri.config import dataset_initialize, get_data_dir
from laion_fmri._constants import LICENSE_AGREEMENT_BODY, STIMULI_LICENSE_BODY
from laion_fmri._errors import DataDirNotSetError, LicenseNotAcceptedError
from laion_fmri.download import accept_licenses

try:
    get_data_dir()
except DataDirNotSetError as error:
    refused = str(error)
dataset_initialize(folder)
print(LICENSE_AGREEMENT_BODY, STIMULI_LICENSE_BODY, sep="---")
try:
    accept_licenses()
except LicenseNotAcceptedError:
    declined = True
"""


def test_initialization(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo").mkdir()
    found = run(INITIALIZATION, folder=str(tmp_path / "demo"))
    assert "dataset_initialize" in found["refused"]
    assert found["declined"]  # nobody is at the terminal
    assert "CC0" in capsys.readouterr().out


QUERYING = """
from laion_fmri.config import dataset_initialize
from laion_fmri.discovery import get_rois, get_subjects, inspect_bucket
from laion_fmri.splits import get_train_test_ids, list_ood_types, list_pools, list_splits, load_split
from laion_fmri.subject import load_subject

dataset_initialize(folder)
by_category = {cat: get_rois(SUBJECT, category=cat) for cat in ("body", "face", "place")}
inspect_bucket()
split = load_split("tau", pool="shared")
train_ids, test_ids = get_train_test_ids("tau", pool="shared")
_, test_shape = get_train_test_ids("ood", pool="shared", ood_types=["shape"])

sub = load_subject(SUBJECT)
trials = sub.get_trial_info(session="ses-01")
columns, runs = trials.columns.tolist(), trials["run"].unique()
betas = sub.get_betas(session="ses-01", roi="FFA1")
counts = {s: (len(get_rois(s)), len(get_rois(s, category="face"))) for s in get_subjects()}
if sub.has_stimuli():
    df = sub.metadata
    shared = (df["unique_or_shared"] == "shared").sum()
    per_session = df["session"].value_counts().to_dict()
"""


@pytest.fixture
def splits(plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Splits:
    """Splits of the simulated images, in the published form."""
    names = plain.stimuli["image_name"]
    pool = sorted(n for n in names if n.startswith("shared_") and "_OOD_" not in n)
    ood = sorted(n for n in names if "_OOD_" in n)
    assert ood
    found = {"tau": (pool[::2], pool[1::2]), "ood": (pool, ood)}
    found |= {f"cluster_k5_{k}": ([n for i, n in enumerate(pool) if i % 5 != k], pool[k::5]) for k in range(5)}
    (tmp_path / "splits" / "shared").mkdir(parents=True)
    for name, (train, test) in found.items():
        content = {"name": name, "params": {}, "n_train": len(train), "n_test": len(test)}
        content["variants"] = [{"variant_id": 0, "train_ids": train, "test_ids": test}]
        (tmp_path / "splits" / "shared" / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setenv("LAION_XR_SPLITS_DIR", str(tmp_path / "splits"))
    return found


def test_querying(plain: Plain, splits: Splits, data: Path) -> None:
    found = run(QUERYING, folder=str(data), SUBJECT="sub-03")
    assert found["by_category"] == {category: plain.rois(category) for category in ("body", "face", "place")}
    assert found["counts"]["sub-03"] == (len(plain.rois()), len(plain.rois("face")))
    assert (found["split"].n_train, found["split"].split_family) == (len(splits["tau"][0]), "tau")
    assert (found["train_ids"], found["test_ids"]) == splits["tau"]
    assert found["test_shape"] == [n for n in splits["ood"][1] if "_OOD_shape_" in n]
    pd.testing.assert_frame_equal(found["trials"], plain.trials("ses-01"))
    np.testing.assert_array_equal(found["betas"], plain.betas("ses-01")[:, plain.roi("FFA1")])
    every = plain.every_trial()
    assert len(found["df"]) == len(every)
    assert found["shared"] == every["label"].str.startswith("shared_").sum()
    assert found["per_session"] == every["session"].value_counts().to_dict()


LOADING = """
import numpy as np
import nibabel as nib
from laion_fmri._paths import freesurfer_surf_path, glmsingle_subject_dir
from laion_fmri.config import dataset_initialize, get_data_dir
from laion_fmri.group import load_subjects
from laion_fmri.subject import load_subject

dataset_initialize(folder)
subject_id, session, roi = "sub-03", "ses-01", "FFA1"
sub = load_subject(subject_id)
available_rois = sub.get_available_rois()

rsq_mask = sub.get_brain_mask(source="rsquare")
anat_mask = sub.get_brain_mask(source="anatomical")
anat_full = sub.get_brain_mask(source="anatomical", res=None)
nc_rsq = sub.get_noise_ceiling(session=session, mask_source="rsquare")

betas_roi = sub.get_betas(session=session, roi=roi)
betas_nc = sub.get_betas(session=session, nc_threshold=20)
betas_both = sub.get_betas(session=session, roi=roi, nc_threshold=30)
betas_shared = sub.get_betas(session=session, roi=roi, stimuli="shared") if sub.has_stimuli() else None

roi_mask = sub.get_roi_mask(roi)
nc = sub.get_noise_ceiling(session=session)
custom_mask = roi_mask & (nc > 25)
betas_custom = sub.get_betas(session=session, mask=custom_mask)

cat_mask = sub.get_roi_mask(sub.get_available_categories()[0])
union = sub.get_roi_mask("all")
roi_gii = sub.get_roi_data(roi, format="func.gii")[roi]
lh_mask = roi_gii["gii"]["hemi-L"]["func.gii"]
coords, faces = nib.freesurfer.read_geometry(str(freesurfer_surf_path(get_data_dir(), subject_id, "L", "pial")))
background = nib.load(str(sub.get_t1w()))

trials = sub.metadata[["session", "session_trial", "image_name", "unique_or_shared"]]
single_img = sub.images.get(0)
mean_betas = sub.get_betas(session=session, streaming=True).mean(axis=0)
sub.to_nifti(mean_betas, "mean.nii.gz")
ffa1 = betas_roi.mean(axis=0)
sub.to_nifti(ffa1, "FFA1_mean.nii.gz", roi="FFA1")
voxels = sub.get_voxel_coordinates()

on_disk = [s for s in ["sub-01", "sub-03", "sub-05"] if glmsingle_subject_dir(get_data_dir(), s).is_dir()]
group = load_subjects(on_disk)
shared = group.get_shared_betas(session=session, roi=roi)
"""


def test_loading(plain: Plain, data: Path) -> None:
    found = run(LOADING, folder=str(data))
    betas, ceiling, ffa = plain.betas("ses-01"), plain.ceiling("ses-01"), plain.roi("FFA1")
    table = plain.trials("ses-01")
    r2 = np.nan_to_num(plain.volume("glmsingle-tedana/SUB/*desc-R2mean_statmap.nii.gz")) != 0  # NaN is outside
    full = plain.volume("anatomical/SUB/*/anat/SUB_ses-PrismaAnat_space-T1w_desc-brain_mask.nii.gz") != 0
    np.testing.assert_array_equal(found["anat_mask"], plain.mask.ravel())
    np.testing.assert_array_equal(found["rsq_mask"], r2.ravel())
    np.testing.assert_array_equal(found["anat_full"], full.ravel())
    assert found["nc_rsq"].shape == (r2.sum(),)
    np.testing.assert_array_equal(found["betas_roi"], betas[:, ffa])
    np.testing.assert_array_equal(found["betas_nc"], betas[:, ceiling >= 20])
    np.testing.assert_array_equal(found["betas_both"], betas[:, ffa & (ceiling >= 30)])
    is_shared = table["label"].str.startswith("shared_").to_numpy()
    np.testing.assert_array_equal(found["betas_shared"], betas[is_shared][:, ffa])
    np.testing.assert_array_equal(found["betas_custom"], betas[:, ffa & (ceiling > 25)])
    np.testing.assert_array_equal(found["cat_mask"], plain.category("body"))
    np.testing.assert_array_equal(found["union"], plain.category("*"))
    surface = nib.load(data / "derivatives/rois/sub-03/face/sub-03_hemi-L_space-fsnative_label-FFA1_mask.func.gii")
    np.testing.assert_array_equal(found["lh_mask"], surface.darrays[0].data.astype(bool))
    assert len(found["coords"]) == found["lh_mask"].size
    assert found["background"].shape == full.shape
    assert found["trials"]["image_name"].tolist() == plain.every_trial()["label"].tolist()
    assert found["single_img"].size == plain.image(table["label"][0]).size
    volume = np.asarray(nib.load("FFA1_mean.nii.gz").dataobj)[plain.mask]
    np.testing.assert_array_equal(volume[ffa], np.ascontiguousarray(betas[:, ffa]).mean(axis=0))
    assert not volume[~ffa].any()
    affine = nib.load(next(data.glob("derivatives/anatomical/sub-03/*/anat/*_res-1pt8_desc-brain_mask.nii.gz"))).affine
    np.testing.assert_allclose(found["voxels"], nib.affines.apply_affine(affine, np.argwhere(plain.mask)))
    assert list(found["shared"]) == found["on_disk"] == ["sub-01", "sub-03"]
    other = Plain(data, "sub-01")
    kept = other.trials("ses-01")["label"].str.startswith("shared_").to_numpy()
    np.testing.assert_array_equal(found["shared"]["sub-01"], other.betas("ses-01")[kept][:, other.roi("FFA1")])


TORCH = """
from torch.utils.data import DataLoader
from laion_fmri.config import dataset_initialize
from laion_fmri.subject import load_subject

dataset_initialize(folder)
sub = load_subject("sub-03")
dataset = sub.to_torch_dataset(session="ses-01", roi="visual")
sample = dataset[0]
loader = DataLoader(dataset, batch_size=16, shuffle=True)
batches = list(loader)
"""


def test_torch(plain: Plain, data: Path) -> None:
    pytest.importorskip("torch", reason="needs PyTorch (extra torch)")
    found = run(TORCH, folder=str(data))
    table, every = plain.trials("ses-01"), plain.category("*")
    assert len(found["dataset"]) == len(table)
    np.testing.assert_array_equal(found["sample"]["betas"], plain.betas("ses-01")[0, every])
    assert tuple(found["sample"]["image"].shape) == (3, *np.asarray(plain.image(table["label"][0])).shape[:2])
    names = [name for batch in found["batches"] for name in batch["image_name"]]
    assert sorted(names) == sorted(table["label"])
    assert found["batches"][0]["betas"].shape == (16, every.sum())


SEGMENTATIONS = """
import numpy as np
import laion_fmri
from laion_fmri.config import dataset_initialize

dataset_initialize(folder)
stim = laion_fmri.load_stimuli()
nouns = stim.segmentations.nouns(image_name)
df = stim.segmentations.for_image(image_name)[["noun", "instance_id", "score", "localized"]]
mask = stim.segmentations.get(image_name, nouns[0])
img = np.array(stim.images.get(image_name))
overlay = img.copy()
overlay[mask == 1] = (0.55 * img[mask == 1] + 0.45 * np.array([230, 25, 75])).astype(np.uint8)

sub = laion_fmri.load_subject("sub-03")
n_covered = sum(sub.segmentations.has_image(t) for t in range(len(sub.metadata)))
trials = sub.metadata
shared_trials = trials.index[trials["unique_or_shared"] == "shared"]
seen = {t: sub.segmentations.nouns(t) for t in shared_trials}
"""


def test_segmentations(plain: Plain, data: Path) -> None:
    table = plain.masks
    opaque = [n for n in table["image_name"].unique() if n.endswith(".jpg")]
    image_name = opaque[0]
    found = run(SEGMENTATIONS, folder=str(data), image_name=image_name)
    rows = table[table["image_name"] == image_name]
    localized = rows[rows["localized"]]
    assert found["nouns"] == list(dict.fromkeys(localized["noun"]))
    first = rows[(rows["noun"] == found["nouns"][0]) & (rows["instance_id"] == 0)].iloc[0]
    with h5py.File(data / "stimuli/task-images_desc-segmentations.h5") as file:
        mask = file["masks"][first["mask_row"]]
    np.testing.assert_array_equal(found["mask"], mask)
    pixels = np.asarray(plain.image(image_name).convert("RGB"))
    np.testing.assert_array_equal(found["img"], pixels)
    assert (found["overlay"][mask == 0] == pixels[mask == 0]).all()
    labels = plain.every_trial()["label"]
    assert found["n_covered"] == labels.isin(table["image_name"]).sum()
    assert sorted(found["seen"]) == np.flatnonzero(labels.str.startswith("shared_")).tolist()


REGRESSION = """
import numpy as np
from laion_fmri.config import dataset_initialize
from laion_fmri.subject import load_subject

dataset_initialize(folder)
sub = load_subject("sub-03")

train_chunks, test_chunks, beta_chunks = [], [], []
for ses in sub.get_sessions():
    betas = sub.get_betas(session=ses, roi="face")
    z = (betas - betas.mean(0)) / betas.std(0)
    trials = sub.get_trial_info(session=ses)
    is_shared = trials["label"].str.startswith("shared_").to_numpy()
    train_chunks.append(z[~is_shared])
    test_chunks.append(z[is_shared])
    beta_chunks.append(z)
X_train = np.concatenate(train_chunks, axis=0)
X_test = np.concatenate(test_chunks, axis=0)
y = np.concatenate(beta_chunks, axis=0)
X = sub.embeddings.all("CLIP")
train = sub.get_betas(session=ses, stimuli="unique", roi="face")
weights = np.linalg.lstsq(X.astype(np.float32), y[:, np.isfinite(y).all(0)], rcond=None)[0]
"""


def test_zscore_split_and_regression(plain: Plain, data: Path) -> None:
    found = run(REGRESSION, folder=str(data))
    chunks = []
    for session in plain.sessions:
        # in C order, trial by trial: the last digit of a mean depends on the order of the sum
        betas = np.ascontiguousarray(plain.betas(session)[:, plain.category("face")])
        chunks.append((betas - betas.mean(0)) / betas.std(0))
    z, labels = np.concatenate(chunks), plain.every_trial()["label"]
    is_shared = labels.str.startswith("shared_").to_numpy()
    np.testing.assert_array_equal(found["X_train"], z[~is_shared])
    np.testing.assert_array_equal(found["X_test"], z[is_shared])
    np.testing.assert_array_equal(found["X"], plain.clip(labels.tolist()))
    last = plain.sessions[-1]
    kept = plain.trials(last)["label"].str.startswith("unique_").to_numpy()
    np.testing.assert_array_equal(found["train"], plain.betas(last)[kept][:, plain.category("face")])
    assert found["weights"].shape[0] == found["X"].shape[1]


SPLITS = """
import numpy as np
import pandas as pd
import laion_fmri
from laion_fmri.config import dataset_initialize
from laion_fmri.splits import get_split_masks, get_train_test_ids, list_ood_types

dataset_initialize(folder)
sub = laion_fmri.load_subject("sub-03")
sessions = sub.get_sessions()
betas = np.concatenate(list(sub.get_betas(session=sessions, roi="visual").values()), axis=0)
trials = pd.concat(list(sub.get_trial_info(session=sessions).values()), ignore_index=True)

train_ids, test_ids = get_train_test_ids("tau", pool="shared")
by_hand = trials["label"].isin(train_ids).to_numpy(), trials["label"].isin(test_ids).to_numpy()
train_mask, test_mask = get_split_masks(trials, "tau", pool="shared")
X_train, X_test = betas[train_mask], betas[test_mask]
folds = [get_split_masks(trials, f"cluster_k5_{k}", pool="shared") for k in range(5)]
per_type = {t: get_split_masks(trials, "ood", pool="shared", ood_types=[t])[1] for t in list_ood_types()}
"""


def test_splits(plain: Plain, splits: Splits, data: Path) -> None:
    found = run(SPLITS, folder=str(data))
    labels = plain.every_trial()["label"]
    betas = np.concatenate([plain.betas(s) for s in plain.sessions])[:, plain.category("*")]
    np.testing.assert_array_equal(found["betas"], betas)
    for side in (0, 1):
        np.testing.assert_array_equal(found["by_hand"][side], (found["train_mask"], found["test_mask"])[side])
    np.testing.assert_array_equal(found["X_train"], betas[labels.isin(splits["tau"][0])])
    np.testing.assert_array_equal(found["X_test"], betas[labels.isin(splits["tau"][1])])
    tests = np.stack([test for _, test in found["folds"]])
    np.testing.assert_array_equal(tests.sum(0), labels.isin(splits["ood"][0]))  # each once
    for kind, mask in found["per_type"].items():
        np.testing.assert_array_equal(mask, labels.str.contains(f"_OOD_{kind}_"))


TEMPLATES = """
from laion_fmri.config import dataset_initialize
from laion_fmri.subject import load_subject

dataset_initialize(folder)
sub = load_subject("sub-03")
mean_b = sub.get_betas(session="ses-01").mean(axis=0)
mni305 = sub.to_template(mean_b, "MNI305", output_dir="./out", desc="MeanBeta", session="ses-01")
has = sub.has_freesurfer()
"""


def test_templates(data: Path) -> None:
    found = run(TEMPLATES, folder=str(data))
    written = nib.load("out/sub-03_ses-01_space-MNI305_desc-MeanBeta_statmap.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(found["mni305"].dataobj))
    assert np.asarray(written.dataobj).any()
    assert found["has"]


LABORATORY = """
import numpy as np
import pandas as pd
from laion_fmri.config import dataset_initialize
from laion_fmri.subject import load_subject

ROIS = {"faces": ("FFA1", "FFA2", "OFA"), "places": ("OPA", "PPA", "MPA")}
dataset_initialize(folder)
sub = load_subject("sub-03")
mask = np.logical_or.reduce([np.asarray(sub.get_roi_mask(name), dtype=bool) for name in ROIS["faces"]])
assert mask.size == sub.get_n_voxels()
chunks, tables = [], []
for session in sub.get_sessions():
    betas = np.asarray(sub.get_betas(session=session, roi=list(ROIS["faces"]), streaming=True), dtype=np.float32)
    trials = sub.get_trial_info(session=session).reset_index(drop=True)
    assert betas.shape == (len(trials), mask.sum())
    trials["trial"] = np.arange(len(trials))
    chunks.append(betas)
    tables.append(trials)
betas = np.concatenate(chunks, axis=0)
trials = pd.concat(tables, ignore_index=True)
trials["session"] = trials["session"].str.split("-").str[1].astype(int)
trials["repetition"] = trials.groupby("label").cumcount()
order = np.lexsort((trials["repetition"].to_numpy(), trials["label"].to_numpy()))
betas, trials = betas[order], trials.iloc[order].reset_index(drop=True)
coords = np.asarray(sub.get_voxel_coordinates())[mask]
"""


def test_a_laboratory_s_loader_of_its_own(plain: Plain, data: Path) -> None:
    """What users build on top: ROIs joined by hand, every session, sorted by image and repetition."""
    found = run(LABORATORY, folder=str(data))
    faces = np.logical_or.reduce([plain.roi(name) for name in ("FFA1", "FFA2", "OFA")])
    betas = np.concatenate([plain.betas(s) for s in plain.sessions])[:, faces]
    table = plain.every_trial()
    order = np.lexsort((table.groupby("label").cumcount(), table["label"]))
    np.testing.assert_array_equal(found["betas"], betas[order])
    assert found["trials"]["label"].tolist() == table["label"].iloc[order].tolist()
    assert found["coords"].shape == (faces.sum(), 3)
