"""What the simulator says is true can be estimated from the betas: signal, noise, ceilings, tuning, embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from laion_xr.simulate import Truth, simulate
from laion_xr.simulate.catalogue import KINDS, features_of, kind_means, kind_of

SETS = {"12rep": "shared_12rep_", "4rep": "shared_4rep_"}


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    root = tmp_path_factory.mktemp("truth")
    return simulate(root, [3], 3, 420, (16, 18, 15), seed=4, n_shared_12=40, n_shared_4=60, write=False)


@pytest.fixture(scope="module")
def measured(truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Betas z-scored by session, labels, and which voxels were modelled throughout."""
    betas = [truth.betas(3, session) for session in truth[3].sessions]
    modelled = np.isfinite(np.concatenate(betas)).all(axis=0)
    zscored = [(b[:, modelled] - b[:, modelled].mean(0)) / b[:, modelled].std(0, ddof=1) for b in betas]
    return np.concatenate(zscored), truth[3].table["label"].to_numpy(str), modelled


def test_features_are_white_and_carry_the_kind():
    names = [f"shared_12rep_LAION_cluster_{i}_i0.jpg" for i in range(6000)]
    features = features_of(1, names, 12)
    np.testing.assert_allclose(np.cov(features.T), np.eye(12), atol=0.06)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.05)
    kinds = np.array([kind_of(1, name) for name in names])
    for row, kind in enumerate(KINDS):
        np.testing.assert_allclose(features[kinds == kind].mean(axis=0), kind_means(12)[row], atol=0.15)


def test_signal_is_what_repeats_average_to(truth, measured):
    zscored, labels, modelled = measured
    names = [name for name in np.unique(labels) if name.startswith("shared_12rep_")]
    averages = np.stack([zscored[labels == name].mean(axis=0) for name in names])
    signal = truth.signal("sub-03", names)[:, modelled]
    strong = truth[3].ncsnr[modelled] > 0.8
    r = [np.corrcoef(a, s)[0, 1] for a, s in zip(averages.T[strong], signal.T[strong], strict=True)]
    assert np.mean(r) > 0.93


def test_signal_and_noise_have_the_stated_size(truth):
    known = truth[3]
    names = [f"shared_4rep_NSD_special1000_{i}.jpg" for i in range(4000)]
    signal = features_of(truth.seed, names, 12) @ known.weights.T
    some = known.signal_sd > 0
    np.testing.assert_allclose(signal.std(axis=0)[some], known.signal_sd[some], rtol=0.08)
    session = known.sessions[0]
    noise = (truth.betas(3, session) - known.offsets[session]) / known.gains[session]
    noise -= truth.signal(3, known.trials[session]["label"])
    fine = np.isfinite(noise).all(axis=0)
    np.testing.assert_allclose(noise[:, fine].std(axis=0), known.noise_sd[fine], rtol=0.2)
    np.testing.assert_allclose(noise[:, fine].std(axis=0).mean(), known.noise_sd[fine].mean(), rtol=0.01)
    np.testing.assert_allclose(known.ncsnr, known.signal_sd / known.noise_sd, rtol=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_ceilings_can_be_estimated_from_the_betas(truth, measured, name):
    zscored, labels, modelled = measured
    images = [image for image in np.unique(labels) if image.startswith(SETS[name])]
    counts = [int((labels == image).sum()) for image in images]
    noise = np.mean([zscored[labels == image].var(axis=0, ddof=1) for image in images], axis=0)
    squared = np.maximum(0, 1 - noise) / noise
    estimate = 100 * squared / (squared + np.mean([1 / n for n in counts]))
    expected = truth[3].noise_ceiling[name][modelled]
    np.testing.assert_allclose(truth[3].ceiling(counts)[modelled], expected, rtol=1e-5)
    strong = expected > 40
    assert strong.sum() > 200
    assert abs((estimate - expected)[strong].mean()) < 2.5
    assert np.sqrt(np.mean((estimate - expected)[strong] ** 2)) < 9


def test_sessions_differ_by_gain_and_offset(truth):
    known = truth[3]
    means = np.stack([truth.betas(3, session).mean(axis=0) for session in known.sessions])
    between = means.std(axis=0, ddof=1) / known.noise_sd
    assert 0.2 < np.nanmedian(between) < 0.6
    assert len(set(known.gains.values())) == len(known.sessions)


def test_rois_prefer_their_category(truth):
    known = truth[3]
    signal = truth.signal(3, truth.stimuli.names)
    for roi in known.preferred:
        response = signal[:, known.positions(known.rois[roi])].mean(axis=1)
        by_kind = {kind: response[truth.stimuli.kinds == kind].mean() for kind in KINDS}
        assert known.preferred[roi] in sorted(by_kind, key=by_kind.get)[-2:]
    assert [known.preferred[roi] for roi in ("FFA1", "EBA", "PPA", "V1v")] == ["face", "body", "place", "pattern"]


def test_rois_have_distinct_directions(truth):
    directions = np.stack(list(truth[3].roi_directions.values()))
    similarity = directions @ directions.T - np.eye(len(directions))
    assert similarity.max() < 0.97
    known = truth[3]
    where = known.positions(known.rois["PPA"])
    own = known.weights[where].mean(axis=0)
    assert own @ known.roi_directions["PPA"] / np.linalg.norm(own) > 0.8


def test_clip_predicts_near_the_ceiling_and_others_less(truth, measured):
    zscored, labels, modelled = measured
    rows = {name: i for i, name in enumerate(truth.stimuli.names)}
    tested = [name for name in np.unique(labels) if name.startswith("shared_12rep_")]
    ceiling = truth[3].noise_ceiling["12rep"][modelled]
    strong = ceiling > 60
    scores = {}
    for model in ("CLIP", "SigLIP2"):
        x = truth.stimuli.embedding(model).astype(np.float64)
        valid = truth.stimuli.valid(model)
        train = [i for i, name in enumerate(labels) if name not in set(tested) and valid[rows[name]]]
        test = [name for name in tested if valid[rows[name]]]
        a, y = x[[rows[labels[i]] for i in train]], zscored[train][:, strong]
        coef = np.linalg.solve(a.T @ a + 20 * np.eye(a.shape[1]), a.T @ y)
        seen = np.stack([zscored[labels == name][:, strong].mean(axis=0) for name in test])
        predicted = x[[rows[name] for name in test]] @ coef
        r = [np.corrcoef(p, s)[0, 1] for p, s in zip(predicted.T, seen.T, strict=True)]
        scores[model] = 100 * np.mean(np.square(r))
    assert 0.8 * ceiling[strong].mean() < scores["CLIP"] < 1.02 * ceiling[strong].mean()
    assert scores["SigLIP2"] < scores["CLIP"] - 10
