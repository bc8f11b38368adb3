"""A tiny dataset in the published layout, written by hand: the oracle of the tests above the readers.

Paths and names are spelled out here as the published documentation has them, not taken from `laion_xr.layout`; values
are kept in memory, so that tests compare with what was written, not with what the package says of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import dask
import fsspec
import h5py
import hypothesis
import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from distributed import LocalCluster

from laion_xr.readers.nifti import NiftiReader

# no test is about its own speed: on a busy machine a deadline fails by chance
hypothesis.settings.register_profile("laion_xr", deadline=None)
hypothesis.settings.load_profile("laion_xr")

Volume = npt.NDArray[np.generic]

GRID = (6, 7, 5)  # not a cube: a swapped axis shows
AFFINE = np.array([[-1.75, 0.125, 0, 10], [0.25, 1.5, 0, -20], [0, 0.5, 2, -30], [0, 0, 0, 1]])
TRIALS = {"sub-01": {"ses-01": 11, "ses-02": 13}, "sub-03": {"ses-01": 14, "ses-02": 17, "ses-03": 15}}
CATEGORIES = {
    "body": ("EBA",),
    "face": ("FFA1", "OFA"),
    "laion": ("laionventral",),
    "place": ("PPA",),
    "retinotopy": ("V1d", "V1v"),
}
SHARED = [f"shared_12rep_LAION_cluster_{i}_i0.jpg" for i in (1003, 7, 42, 5)]
OOD = ["shared_4rep_OOD_gabor_a.png", "shared_4rep_OOD_shape_b.png"]
FEATURES = 8


class Read(NamedTuple):
    """One call of a NIfTI reader: what was asked of which file."""

    path: str
    session: str  # "" for a subject's map
    trials: list[int]
    voxels: list[int]


@dataclass
class Reads:
    """What NIfTI readers were asked for, in any order: they run in Dask's threads."""

    calls: list[Read] = field(default_factory=list)

    @property
    def betas(self) -> list[Read]:
        """Reads of beta files, by path."""
        return sorted(r for r in self.calls if "SingletrialBetas" in r.path)

    @property
    def maps(self) -> list[str]:
        """Paths of the other files."""
        return sorted(r.path for r in self.calls if "SingletrialBetas" not in r.path)

    def clear(self) -> None:
        """Forget what was read so far."""
        self.calls.clear()


@dataclass
class Tiny:
    """What was written, and where."""

    root: Path
    mask: npt.NDArray[np.bool_]
    betas: dict[tuple[str, str], Volume] = field(default_factory=dict)
    tables: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    session_maps: dict[tuple[str, str, str], Volume] = field(default_factory=dict)
    subject_maps: dict[tuple[str, str], Volume] = field(default_factory=dict)
    rois: dict[tuple[str, str], npt.NDArray[np.bool_]] = field(default_factory=dict)
    metadata: pd.DataFrame = field(default_factory=pd.DataFrame)
    embeddings: dict[str, npt.NDArray[np.float16]] = field(default_factory=dict)

    grid = GRID
    affine = AFFINE
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(CATEGORIES))

    @property
    def voxels(self) -> npt.NDArray[np.intp]:
        """C-order flat ids of the brain mask."""
        return np.flatnonzero(self.mask.ravel())

    def sessions(self, subject: str = "sub-03") -> list[str]:
        """Names of a subject's sessions."""
        return list(TRIALS[subject])

    def folder(self, subject: str = "sub-03", session: str | None = None) -> Path:
        """Folder of a subject, or of a session's files."""
        folder = self.root / "derivatives" / "glmsingle-tedana" / subject
        return folder if session is None else folder / session / "func"

    def session_file(self, session: str, rest: str, subject: str = "sub-03") -> Path:
        """A file of a session."""
        return self.folder(subject, session) / f"{subject}_{session}_task-images_{rest}"

    def betas_file(self, session: str, subject: str = "sub-03") -> Path:
        """The betas of a session."""
        return self.session_file(session, "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz", subject)

    def trials_file(self, session: str, subject: str = "sub-03") -> Path:
        """The trial table of a session."""
        return self.session_file(session, "desc-SingletrialBetas_trials.tsv", subject)

    def model_file(self, session: str, subject: str = "sub-03") -> Path:
        """The GLMsingle output of a session."""
        return self.session_file(session, "space-T1w_desc-GLMsingle_model.h5", subject)

    def subject_file(self, rest: str, subject: str = "sub-03") -> Path:
        """A map of a subject."""
        return self.folder(subject) / f"{subject}_task-images_space-T1w_{rest}"

    def mask_file(self, subject: str = "sub-03") -> Path:
        """The brain mask on the functional grid."""
        folder = self.root / "derivatives" / "anatomical" / subject / "ses-PrismaAnat" / "anat"
        return folder / f"{subject}_ses-PrismaAnat_space-T1w_res-1pt8_desc-brain_mask.nii.gz"

    def roi_file(self, category: str, roi: str, subject: str = "sub-03") -> Path:
        """The volume of an ROI."""
        folder = self.root / "derivatives" / "rois" / subject / category
        return folder / f"{subject}_space-T1w_res-1pt8_label-{roi}_mask.nii.gz"

    @property
    def metadata_file(self) -> Path:
        """The stimulus metadata."""
        return self.root / "stimuli" / "task-images_metadata.csv"

    def embeddings_file(self, model: str = "CLIP") -> Path:
        """The embeddings of a model."""
        return self.root / "stimuli" / f"task-images_desc-{model}_embeddings.h5"

    def matrix(self, subject: str = "sub-03", sessions: list[str] | None = None) -> npt.NDArray[np.float32]:
        """Betas of a subject as (trial, voxel), in C order of the grid restricted to the mask."""
        chosen = sessions or self.sessions(subject)
        volumes = [np.moveaxis(self.betas[subject, s], -1, 0).reshape(-1, self.mask.size) for s in chosen]
        return np.concatenate(volumes)[:, self.mask.ravel()]

    def table(self, subject: str = "sub-03") -> pd.DataFrame:
        """The trial tables of a subject, one after the other."""
        return pd.concat([self.tables[subject, s] for s in self.sessions(subject)], ignore_index=True)

    def in_mask(self, volume: Volume) -> Volume:
        """A volume's values on the voxel axis."""
        return volume.ravel()[self.mask.ravel()]

    def members(self, *rois: str, subject: str = "sub-03") -> npt.NDArray[np.bool_]:
        """Which voxels of the axis lie in any of some ROIs."""
        return np.logical_or.reduce([self.in_mask(self.rois[subject, r]) for r in rois])

    def copy(self, root: Path) -> Tiny:
        """The same files in another place, to be broken."""
        shutil.copytree(self.root, root)
        return Tiny(**(self.__dict__ | {"root": root}))


SESSION_MAPS = {
    "noise_ceiling_session": "space-T1w_desc-Noiseceiling_statmap.nii.gz",
    "r2_session": "space-T1w_stat-rsquare_desc-R2_statmap.nii.gz",
    "hrf_index": "space-T1w_desc-HRFindex_dseg.nii.gz",
    "frac_ridge": "space-T1w_desc-Fracridge_statmap.nii.gz",
}
SUBJECT_MAPS = {
    "noise_ceiling_12rep": "desc-Noiseceiling12rep_statmap.nii.gz",
    "noise_ceiling_4rep": "desc-Noiseceiling4rep_statmap.nii.gz",
    "noise_ceiling_Allrep": "desc-NoiseceilingAllrep_statmap.nii.gz",
    "r2_mean": "stat-rsquare_desc-R2mean_statmap.nii.gz",
}


def save(path: Path, volume: Volume, affine: npt.NDArray[np.float64] = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, affine), path)


def write_tiny(root: Path) -> Tiny:
    rng = np.random.default_rng(3)
    tiny = Tiny(root, rng.random(GRID) < 0.7)
    unique = {s: [f"unique_LAION_initial_cluster_{n}_i38_p{s[4:]}.jpg" for n in range(40)] for s in TRIALS}
    for subject, sessions in TRIALS.items():
        save(tiny.mask_file(subject), tiny.mask.astype(np.uint8))
        for kind, rest in SUBJECT_MAPS.items():
            volume = (rng.random(GRID) * 90).astype(np.float32)
            volume[rng.random(GRID) < 0.1] = 0 if kind == "r2_mean" else np.nan
            tiny.subject_maps[subject, kind] = volume
            save(tiny.subject_file(rest, subject), volume)
        for category, rois in CATEGORIES.items():
            for roi in rois:
                # ROIs overlap and reach outside the brain mask; EBA is empty
                inside = rng.random(GRID) < {"EBA": 0, "laionventral": 0.4}.get(roi, 0.15)
                tiny.rois[subject, roi] = inside
                save(tiny.roi_file(category, roi, subject), inside.astype(np.uint8))
        for session, n in sessions.items():
            betas = rng.standard_normal((*GRID, n)).astype(np.float32)
            betas[~tiny.mask] = 0
            betas[rng.random((*GRID, n)) < 0.01] = np.nan
            tiny.betas[subject, session] = betas
            save(tiny.betas_file(session, subject), betas)
            labels = [*rng.choice(SHARED, n // 2), *rng.choice(OOD, 2), *rng.choice(unique[subject], n - n // 2 - 2)]
            table = pd.DataFrame(
                {
                    "session": session,
                    "run": np.arange(n) // 6 + 1,
                    "beta_index": np.arange(n),
                    "label": rng.permutation(np.array(labels, dtype=object)),
                    "response_time": np.round(rng.random(n), 3),
                    "button": rng.choice(np.array(["left", "right"], dtype=object), n),
                }
            )
            tiny.tables[subject, session] = table
            table.to_csv(tiny.trials_file(session, subject), sep="\t", index=False)
            for kind, rest in SESSION_MAPS.items():
                if (subject, session, kind) == ("sub-03", "ses-02", "hrf_index"):
                    continue  # this one is missing
                hrf = kind == "hrf_index"
                volume = rng.integers(0, 20, GRID).astype(np.int16) if hrf else rng.random(GRID).astype(np.float32)
                tiny.session_maps[subject, session, kind] = volume
                save(tiny.session_file(session, rest, subject), volume)
    with h5py.File(tiny.model_file("ses-01"), "w") as file:
        file["betasmd"] = tiny.betas["sub-03", "ses-01"]
        file["R2"] = tiny.session_maps["sub-03", "ses-01", "r2_session"]
        file["rrbadness"] = np.arange(3.0)
        file["diagnostics/onoff"] = np.arange(14)
        file["meanvol"] = 1.5
        file["note"] = "typed"
    names = [*SHARED, *OOD, *unique["sub-03"], *unique["sub-01"]]
    order = rng.permutation(len(names) - 1)  # the last has no row
    shown = [names[i] for i in order]
    tiny.metadata = pd.DataFrame(
        {
            "image_name": shown,
            "dataset": ["OOD" if "_OOD_" in n else "LAION" for n in shown],
            "participant": ["all" if n.startswith("shared") else f"sub-{n[-6:-4]}" for n in shown],
            "unique_or_shared": [n.partition("_")[0] for n in shown],
            "n_reps": [12 if "12rep" in n else 4 if "4rep" in n else 1 for n in shown],
        }
    )
    tiny.metadata_file.parent.mkdir(parents=True)
    tiny.metadata.to_csv(tiny.metadata_file, index=False)
    rows = rng.permutation(len(names))[1:]  # an order of its own, and one image without embedding
    values = rng.standard_normal((len(rows), FEATURES)).astype(np.float16)
    valid = np.ones(len(rows), dtype=bool)
    # one that both its subject sees and the metadata have
    valid[rows.tolist().index(names.index(SHARED[0]))] = False
    tiny.embeddings = {names[r]: v for r, v, ok in zip(rows, values, valid, strict=True) if ok}
    with h5py.File(tiny.embeddings_file(), "w") as file:
        file["embedding"] = values
        file.create_dataset("image_ids", data=[names[r] for r in rows], dtype=h5py.string_dtype())
        file["valid"] = valid
    return tiny


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for configuration files, with none in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """What the machine's own environment and files say of data, stores and access stays out of the tests."""
    for name in ("LAION_XR_DATA_DIR", "LAION_XR_STORE", "LAION_XR_SPLITS_DIR", "LAION_XR_ACCESS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LAION_FMRI_ROOT", "LAION_FMRI_DATA", "LAION_FMRI_ACCESS_URL", "LAION_FMRI_REQUEST_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(empty_home))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny dataset of two subjects and what was written. Read it, never write into it."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "laion")


@pytest.fixture
def tiny_copy(tiny: Tiny, tmp_path: Path) -> Tiny:
    """The tiny dataset in a place of its own, to be broken."""
    return tiny.copy(tmp_path / "laion")


@pytest.fixture
def tiny_in_memory(tiny: Tiny) -> Iterator[str]:
    """The address of the tiny dataset in fsspec's memory file system."""
    fs = fsspec.filesystem("memory")
    fs.put(str(tiny.root), "/laion-test", recursive=True)
    yield "memory://laion-test"
    fs.rm("/laion-test", recursive=True)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Every read of a NIfTI file from here on: the recording reader."""
    found = Reads()
    read = NiftiReader.read

    def recording(self: NiftiReader, trials: object, voxels: Volume, out: Volume | None = None) -> Volume:
        asked = np.arange(self.shape[0])[trials]
        session = next((p for p in self.entry.path.split("/") if p.startswith("ses-")), "")
        found.calls.append(Read(self.entry.path, session, asked.tolist(), np.asarray(voxels).tolist()))
        return read(self, trials, voxels, out)

    monkeypatch.setattr(NiftiReader, "read", recording)
    return found


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A distributed cluster of two worker processes."""
    with (
        dask.config.set({"distributed.worker.daemon": True}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # any free port: None still asks for 8787, and warns if it is taken
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
    ):
        yield cluster
