"""The brain files of a simulated dataset, read with nibabel, h5py and pandas, against its truth."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from laion_xr import layout
from laion_xr.simulate import Truth, simulate


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    return simulate(tmp_path_factory.mktemp("brain"), sessions=[1, 2, 4], trials=[60, 61, 58], stimuli=False)


def load(truth: Truth, path: str) -> np.ndarray:
    return np.asanyarray(nib.load(truth.root / path).dataobj)


def every_session(truth: Truth):
    return [(subject, session) for subject in truth.subjects.values() for session in subject.sessions]


def test_every_file_of_the_layout_is_there(truth):
    files = {p.relative_to(truth.root).as_posix() for p in truth.root.rglob("*") if p.is_file()}
    for subject, session in every_session(truth):
        maps = [layout.session_path(subject.name, session, kind) for kind in layout.SESSION_MAPS]
        maps += [layout.subject_path(subject.name, kind) for kind in layout.SUBJECT_MAPS]
        others = [layout.session_path(subject.name, session, kind) for kind in layout.SESSION_FILES]
        assert files >= {*maps, *others, *map(layout.sidecar_path, [*maps, *others])}
        for image in ("T1w", "T2w"):
            assert files >= {layout.anatomical_path(subject.name, image, on_grid) for on_grid in (True, False)}
    assert not [name for name in files if name.rpartition("/")[2].startswith(".")]


def test_betas_on_disk_are_the_truth_s(truth):
    for subject, session in every_session(truth):
        image = nib.load(truth.root / layout.session_path(subject.name, session, "betas"))
        data = np.asanyarray(image.dataobj)
        expected = truth.betas(subject.name, session)
        assert data.shape == (*truth.grid, len(subject.trials[session]))
        assert image.get_data_dtype() == np.dtype("<f4")
        np.testing.assert_array_equal(data.reshape(-1, data.shape[3])[subject.voxels].T, expected)
        assert not data[~subject.mask].any()
        np.testing.assert_array_equal(image.affine, subject.affine)
        np.testing.assert_allclose(image.header.get_zooms()[:3], 1.778, rtol=1e-6)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
        assert image.header["magic"] == b"n+1"


def test_voxel_axis_is_the_c_order_ravel_of_the_mask(truth):
    for subject in truth.subjects.values():
        mask = load(truth, layout.brain_mask_path(subject.name)) != 0
        np.testing.assert_array_equal(mask, subject.mask)
        np.testing.assert_array_equal(np.flatnonzero(mask.ravel()), subject.voxels)
        r2_mean = load(truth, layout.subject_path(subject.name, "r2_mean"))
        rsquare = np.nan_to_num(r2_mean) != 0
        np.testing.assert_array_equal(np.flatnonzero(rsquare.ravel()), subject.rsquare_voxels)
        assert len(subject.rsquare_voxels) < len(subject.voxels)


def test_the_grid_and_the_affine_betray_mixed_up_axes(truth):
    assert len(set(truth.grid)) == 3
    a, b = (subject.affine for subject in truth.subjects.values())
    assert np.linalg.det(a) < 0
    assert np.count_nonzero(a[:3, :3]) > 3
    assert not np.allclose(a, b)


def test_missing_values_are_where_the_truth_says(truth):
    for subject, session in every_session(truth):
        missing = np.isnan(truth.betas(subject.name, session))
        whole = subject.voxels[missing.all(axis=0)]
        np.testing.assert_array_equal(whole, np.union1d(subject.nan_voxels, subject.nan_session_voxels[session]))
        trial, voxel = np.nonzero(missing & ~missing.all(axis=0))
        assert set(zip(trial, subject.voxels[voxel], strict=True)) == set(map(tuple, subject.nan_entries[session]))
        assert len(subject.nan_voxels)
        assert len(trial)


def test_trial_tables(truth):
    for subject, session in every_session(truth):
        table = pd.read_csv(truth.root / layout.session_path(subject.name, session, "trials"), sep="\t")
        assert list(table.columns) == ["session", "run", "beta_index", "label"]
        assert table.to_dict("list") == subject.trials[session].to_dict("list")
        assert (table["beta_index"] == np.arange(len(table))).all()
        assert (table["session"] == session).all()
        assert table["run"].is_monotonic_increasing
        assert table["run"].iloc[0] == 1


def test_repeats_are_as_published(tmp_path):
    truth = simulate(tmp_path, 2, 3, 100, 8, write=False)
    for subject in truth.subjects.values():
        counts = subject.table["label"].value_counts()
        for prefix, repeats in (("shared_12rep_", 12), ("shared_4rep_", 4), ("unique_", 1)):
            assert set(counts[counts.index.str.startswith(prefix)]) == {repeats}
        for table in subject.trials.values():
            inside = table["label"].value_counts()
            assert (inside[inside.index.str.startswith("shared_12rep_")] == 4).all()
    shared = [set(s.table["label"][s.table["label"].str.startswith("shared")]) for s in truth.subjects.values()]
    assert shared[0] == shared[1]


def test_few_trials_keep_repeats(tmp_path):
    truth = simulate(tmp_path, 1, 1, 9, 8, n_shared_12=10, n_shared_4=10, write=False)
    counts = truth[1].table["label"].value_counts()
    assert sorted(counts) == [1, 4, 4]


def test_up_to_twelve_runs(tmp_path):
    truth = simulate(tmp_path, 1, 1, 1050, 6, write=False)
    runs = truth[1].table["run"]
    assert runs.max() == 12
    assert set(runs.value_counts()) == {87, 88}


def test_noise_ceiling_maps_follow_the_published_formula(truth):
    for subject in truth.subjects.values():
        counts = subject.table["label"].value_counts()
        for name, prefix in (("12rep", "shared_12rep"), ("4rep", "shared_4rep"), ("Allrep", "")):
            n = counts[counts.index.str.startswith(prefix) & (counts > 1)]
            squared = (subject.signal_sd.astype(float) / subject.noise_sd) ** 2
            expected = 100 * squared / (squared + (1 / n).mean())
            found = load(truth, layout.subject_path(subject.name, f"noise_ceiling_{name}"))
            modelled = ~np.isin(subject.voxels, subject.nan_voxels)
            np.testing.assert_allclose(found[subject.mask][modelled], expected[modelled], rtol=1e-5)
            assert np.isnan(found[subject.mask][~modelled]).all()
            assert not found[~subject.mask].any()
            assert 70 < np.nanmax(found) <= 100
        for session in subject.sessions:
            found = load(truth, layout.session_path(subject.name, session, "noise_ceiling"))
            np.testing.assert_array_equal(found[subject.mask], subject.noise_ceiling[session])


def test_other_maps(truth):
    for subject, session in every_session(truth):
        hrf = load(truth, layout.session_path(subject.name, session, "hrf_index"))
        assert np.issubdtype(hrf.dtype, np.integer)
        assert set(np.unique(hrf)) <= set(range(20))
        frac = load(truth, layout.session_path(subject.name, session, "frac_ridge"))[subject.mask]
        assert np.nanmin(frac) > 0
        assert np.nanmax(frac) <= 1
        r2 = load(truth, layout.session_path(subject.name, session, "r2"))[subject.mask]
        assert np.nanmin(r2) == 0
        assert np.nanmax(r2) <= 100
    r2s = [load(truth, layout.session_path("sub-01", session, "r2")) for session in truth[1].sessions]
    mean = load(truth, layout.subject_path("sub-01", "r2_mean"))
    known = np.isfinite(r2s).all(axis=0)
    np.testing.assert_allclose(mean[known], np.mean(r2s, axis=0)[known], rtol=1e-5)


def test_model_file(truth):
    for subject, session in every_session(truth):
        with h5py.File(truth.root / layout.session_path(subject.name, session, "model")) as file:
            data = load(truth, layout.session_path(subject.name, session, "betas"))
            np.testing.assert_array_equal(file["betasmd"][:], data)
            assert file["pcnum"].shape == ()
            assert file["xvaltrend"].ndim == 1
            assert file["R2"].shape == truth.grid
            assert "run-01" in file["pcregressors"]


@pytest.mark.parametrize("rows", ["flat", "anatomical", "rsquare"])
def test_model_file_with_a_row_a_voxel(tmp_path: Path, rows):
    truth = simulate(tmp_path, [3], 1, 20, 10, stimuli=False, surfaces=False, model_layout=rows)
    betas, subject = truth.betas(3, 1), truth[3]
    expected = {
        "flat": subject.volume(betas[4]).ravel(),
        "anatomical": betas[4],
        "rsquare": betas[4][subject.positions(subject.rsquare_voxels)],
    }[rows]
    with h5py.File(tmp_path / layout.session_path("sub-03", "ses-01", "model")) as file:
        np.testing.assert_array_equal(file["betasmd"][:, 4], expected)
        assert file["betasmd"].shape == (len(expected), 20)
        assert file["R2"].shape == expected.shape


def test_rois(truth):
    for subject in truth.subjects.values():
        assert set(subject.categories) == set(layout.ROI_CATEGORIES)
        assert sum(map(len, subject.categories.values())) == len(subject.rois) == 40
        for category, names in subject.categories.items():
            for name in names:
                image = nib.load(truth.root / layout.roi_path(subject.name, category, name))
                volume = np.asanyarray(image.dataobj)
                np.testing.assert_array_equal(np.flatnonzero(volume.ravel()), subject.rois[name])
                np.testing.assert_array_equal(volume != 0, subject.roi_mask(name))
                np.testing.assert_array_equal(image.affine, subject.affine)
        sizes = {name: len(ids) for name, ids in subject.rois.items()}
        assert 1 <= list(sizes.values()).count(0) <= 2
        outside = {name for name, ids in subject.rois.items() if len(subject.positions(ids)) < len(ids)}
        assert outside == {"IPS0", "laionlateral"}
        members = np.concatenate(list(subject.rois.values()))
        assert len(np.unique(members)) < len(members)


@pytest.mark.parametrize("grid", [6, (6, 9, 7), 12])
def test_rois_are_not_empty_by_accident_in_a_tiny_grid(tmp_path, grid):
    subject = simulate(tmp_path, [1], 1, 4, grid, write=False)[1]
    assert sum(len(subject.positions(ids)) == 0 for ids in subject.rois.values()) <= 2


def test_full_resolution_mask_does_not_align(truth):
    for subject in truth.subjects.values():
        image = nib.load(truth.root / layout.full_brain_mask_path(subject.name))
        assert image.shape != truth.grid
        volume = np.asanyarray(image.dataobj).sum() * abs(np.linalg.det(image.affine))
        np.testing.assert_allclose(volume, subject.mask.sum() * 1.778**3, rtol=0.03)
        coarse = nib.load(truth.root / layout.anatomical_path(subject.name))
        assert coarse.shape == truth.grid
        t1 = np.asanyarray(coarse.dataobj)
        assert t1[subject.mask].mean() > 4 * t1[~subject.mask].mean()


def digests(root: Path) -> dict[str, str]:
    def content(path: Path) -> bytes:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()

    return {
        p.relative_to(root).as_posix(): hashlib.sha256(content(p)).hexdigest()
        for p in root.rglob("*")
        if p.is_file() and p.suffix != ".json"
    }


def test_another_subject_or_session_changes_no_other(tmp_path):
    common = {"trials": 30, "grid": 10, "stimuli": False, "surfaces": False, "models": False, "compress_level": 1}
    simulate(tmp_path / "one", [3], [2], **common)
    simulate(tmp_path / "two", [1, 3], [1, 2, 3], **{**common, "compress_level": 6})
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    # the maps over sessions count repeats, and average over sessions
    changed = {name for name in one if one[name] != two[name]}
    assert {name.split("sub-03_task-images_")[-1].split("_")[-2] for name in changed - {"participants.tsv"}} == {
        "desc-R2mean", "desc-Noiseceiling12rep", "desc-Noiseceiling4rep", "desc-NoiseceilingAllrep"
    }  # fmt: skip


def test_seed_decides(tmp_path):
    def of(seed: int) -> np.ndarray:
        return simulate(tmp_path, [1], 1, 8, 8, seed, write=False).betas(1, 1)

    np.testing.assert_array_equal(of(1), of(1))
    assert of(1).shape != of(2).shape or not np.array_equal(of(1), of(2))


def test_betas_of_some_trials_are_those_of_all(truth):
    everything = truth.betas("sub-03", "ses-02")
    picks = [7, 0, 7, 59]
    np.testing.assert_array_equal(truth.betas(3, 2, picks), everything[picks])
