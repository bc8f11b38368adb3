"""Folds by published family, session, run, image and features: partitions, seeds, what is refused."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.analysis import splits
from laion_xr.errors import MissingExtraError, SelectionError, SplitLeakageError, UnknownLabelError

SHARED = [f"shared_4rep_LAION_{i}.jpg" for i in range(12)]
OOD = "shared_4rep_OOD_gabor_a.png"
UNIQUE = [f"unique_LAION_{i}_p04.jpg" for i in range(6)]


def shown(names: list[str], per_session: int = 6) -> xr.Dataset:
    n = len(names)
    return xr.Dataset(
        {"betas": (("trial", "voxel"), np.zeros((n, 2)))},
        {
            "stimulus": ("trial", np.array(names, dtype=object)),
            "session": ("trial", np.array([f"ses-{i // per_session + 1:02d}" for i in range(n)], dtype=object)),
            "run": ("trial", np.arange(n) % per_session // 3 + 1),
            "trial": np.arange(n),
        },
    )


def images(side: xr.Dataset) -> set[str]:
    return set(side.stimulus.values.tolist())


def test_published_family(tiny, tmp_path: Path) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    labels = sorted({name for name in tiny.table().label if name.startswith("shared_12rep")})
    (tmp_path / "shared").mkdir()
    held_out = [labels[i % len(labels)] for i in range(5)]
    for i, name in enumerate(held_out):
        sides = {"train_ids": [label for label in labels if label != name], "test_ids": [name]}
        (tmp_path / "shared" / f"cluster_k5_{i}.json").write_text(json.dumps({"variants": [sides]}))
    folds = ds.betas.laion.splits("cluster_k5", splits_dir=tmp_path)
    assert iter(folds) is folds
    assert [images(test) for _, test in folds] == [{name} for name in held_out]


def test_random_family_is_the_five_published_splits() -> None:
    ds = shown(SHARED)
    found = [images(test) for _, test in splits(ds, "random", images=SHARED)]
    draws = [np.random.default_rng(i).choice(12, 2, replace=False) for i in range(5)]
    assert found == [{sorted(SHARED)[i] for i in draw} for draw in draws]


def test_sessions_and_runs() -> None:
    ds = shown([*SHARED, *UNIQUE])
    folds = list(splits(ds, "session"))
    assert [test.trial.values.tolist() for _, test in folds] == [[*range(6)], [*range(6, 12)], [*range(12, 18)]]
    assert [train.sizes["trial"] for train, _ in folds] == [12, 12, 12]
    folds = list(splits(ds, "run"))  # run 1 of another session is another run
    assert [test.trial.values.tolist() for _, test in folds] == [[*range(i, i + 3)] for i in range(0, 18, 3)]
    halves = list(splits(ds, "run", k=2, seed=1))
    assert sorted(np.concatenate([test.trial for _, test in halves])) == [*range(18)]
    assert [test.sizes["trial"] for _, test in halves] == [9, 9]
    assert [*map(str, halves)] == [*map(str, splits(ds, "run", k=2, seed=1))]
    assert [test.trial.values.tolist() for _, test in splits(ds, "session", pool="shared")] == [
        [*range(6)],
        [*range(6, 12)],
    ]


def test_image_in_several_sessions() -> None:
    ds = shown([*SHARED[:6], SHARED[0], *SHARED[6:11], OOD])
    with pytest.raises(SplitLeakageError, match=f"1 images are shown both .* as '{SHARED[0]}': say with overlap="):
        splits(ds, "session")
    by_train = [[side.trial.values.tolist() for side in fold] for fold in splits(ds, "session", overlap="train")]
    by_test = [[side.trial.values.tolist() for side in fold] for fold in splits(ds, "session", overlap="test")]
    first, second = [*range(6)], [*range(6, 12)]
    assert by_train == [[second, first[1:]], [first, second[1:]]]
    assert by_test == [[second[1:], first], [first[1:], second]]


shown_names = st.lists(st.sampled_from([*SHARED, OOD, *UNIQUE, ""]), max_size=60)


@given(shown_names, st.integers(2, 6), st.integers(0, 5))
def test_folds_over_images_partition(names: list[str], k: int, seed: int) -> None:
    ds = shown(names)
    available = {name for name in names if name not in (OOD, "")}
    if len(available) < k:
        with pytest.raises(SelectionError, match="more than there is to divide"):
            splits(ds, "images", k=k, seed=seed)
        return
    folds = [(images(train), images(test)) for train, test in splits(ds, "images", k=k, seed=seed)]
    assert len(folds) == k
    assert sorted(name for _, test in folds for name in test) == sorted(available)
    assert all(train == available - test for train, test in folds)


@given(shown_names, st.integers(2, 3), st.integers(0, 5), st.sampled_from(["session", "run"]))
def test_folds_over_sessions_partition(names: list[str], k: int, seed: int, by: str) -> None:
    # three times six that are shown once: in each fold there are runs and sessions with nothing in common
    names = [*names, *(f"unique_LAION_once{i}_p04.jpg" for i in range(-len(names) % 6 + 18))]
    ds = shown(names)
    folds = list(splits(ds, by, k=k, seed=seed, overlap="test"))
    tested = np.concatenate([test.trial for _, test in folds])
    assert sorted(tested) == [i for i, name in enumerate(names) if name not in (OOD, "")]
    for train, test in folds:
        assert not images(train) & images(test)
        assert not set(train.session.values) & set(test.session.values) or by == "run"


def test_images_do_not_depend_on_order_or_sessions() -> None:
    one, other = shown(SHARED), shown(SHARED[::-1])
    found = [[images(test) for _, test in splits(ds, "images", k=3, seed=2)] for ds in (one, other)]
    assert found[0] == found[1]
    assert found[0] != [images(test) for _, test in splits(one, "images", k=3, seed=3)]
    some = one.isel(trial=slice(0, 9))
    by_all = [images(test) for _, test in splits(some, "images", k=3, seed=2, images=SHARED)]
    assert by_all == [side & images(some) for side in found[0]]


def features(names: list[str], dim: str = "stimulus", dtype: str = "float32") -> xr.DataArray:
    """Three groups far from each other, by the number in the name."""
    groups = np.array([int(name.split("_")[3].split(".")[0]) % 3 for name in names])
    values = np.eye(3)[groups] * 100 + np.random.default_rng(0).random((len(names), 3))
    return xr.DataArray(
        values.astype(dtype), dims=(dim, "feature"), coords={"stimulus": (dim, np.array(names, object))}
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_features(seed: int) -> None:
    ds = shown([*SHARED, *SHARED[:4], OOD])
    groups = {frozenset(SHARED[i::3]) for i in range(3)}
    for given_features in (
        features(SHARED[::-1]),
        features(SHARED).T,
        features([*SHARED, *SHARED], "trial", "float16"),
    ):
        folds = list(splits(ds, "features", features=given_features, k=3, seed=seed))
        assert {frozenset(images(test)) for _, test in folds} == groups
        assert all(images(train) | images(test) == set(SHARED) for train, test in folds)
    again = splits(ds, "features", features=features(SHARED), k=3, seed=seed)
    assert [images(test) for _, test in again] == [
        images(test) for _, test in splits(ds, "features", features=features(SHARED), k=3, seed=seed)
    ]


def test_features_of_the_dataset(tiny, reads) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", embeddings="CLIP")
    known = sorted(set(ds.stimulus.values) & set(tiny.embeddings))
    for name in ("CLIP", "embedding_CLIP"):
        folds = list(ds.laion.splits("features", features=name, k=2, images=known))
        tested = [images(test) for _, test in folds]
        assert sorted([*tested[0], *tested[1]]) == [name for name in known if "_OOD_" not in name]
    assert reads.betas == []
    with pytest.raises(SelectionError, match=r"The features 'embedding_CLIP' are not finite for \d+ of"):
        ds.laion.splits("features", features="CLIP", k=2)
    with pytest.raises(
        SelectionError, match=r"no variable 'embedding_DINOv2' or 'DINOv2' here .*open with embeddings="
    ):
        ds.laion.splits("features", features="DINOv2")


def test_features_that_do_not_fit() -> None:
    ds = shown(SHARED)
    good = features(SHARED)
    with pytest.raises(SelectionError, match=f"lack 2 of the 12 images to split: {SHARED[10]}"):
        splits(ds, "features", features=good[:10])
    with pytest.raises(SelectionError, match=f"not finite for 1 of the 12 images to split: {SHARED[3]}"):
        splits(ds, "features", features=good.where(good.stimulus != SHARED[3]))
    with pytest.raises(SelectionError, match="k = 5 clusters of 3 distinct features"):
        splits(ds, "features", features=good.round(-1))
    for wrong in (
        good.drop_vars("stimulus"),
        good[:, 0],
        good.rename(stimulus="image"),
        good.astype(str),
        good.values,
        good.to_dataset(name="f"),
    ):
        with pytest.raises(SelectionError, match="are to be a DataArray of numbers with two dims"):
            splits(ds, "features", features=wrong)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'laion-xr\[cluster\]'"):
        splits(shown(SHARED), "features", features=features(SHARED), k=3)


@pytest.mark.parametrize(
    ("by", "options", "message"),
    [
        ("images", {"k": 13}, "k = 13 folds are more than there is to divide: 12 images of the pool here"),
        ("features", {"k": 13, "features": features(SHARED)}, "k = 13 folds are more than"),
        ("session", {"k": 3}, "k = 3 folds are more than there is to divide: 2 sessions here"),
        ("images", {"k": 1}, "k is a whole number of folds, 2 or more, found 1"),
        ("images", {"k": 2.5}, "k is a whole number"),
        ("images", {"k": True}, "k is a whole number"),
        ("features", {}, r"splits\('features'\) needs features="),
        ("images", {"features": features(SHARED)}, "does not take features"),
        ("cluster_k5", {"k": 5}, "does not take k"),
        ("images", {"overlap": "test"}, "does not take overlap"),
        ("session", {"overlap": "both"}, "overlap is 'error', 'train' or 'test', found 'both'"),
        ("run", {"images": SHARED}, "does not take images"),
        ("images", {"splits_dir": "folder"}, "does not take splits_dir"),
    ],
)
def test_arguments_that_mean_nothing(by: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        splits(shown(SHARED), by, **options)


def test_unknown_way() -> None:
    with pytest.raises(
        UnknownLabelError, match=r"A way to split by 'sesion' does not exist here. Did you mean 'session'"
    ):
        splits(shown(SHARED), "sesion")
    for by in ("images", "session"):
        with pytest.raises(UnknownLabelError, match=r"Pool 'shraed' does not exist here. Did you mean 'shared'"):
            splits(shown(SHARED), by, pool="shraed")
    with pytest.raises(UnknownLabelError, match=r"Pool 'shraed' does not exist here. Did you mean 'shared'"):
        next(splits(shown(SHARED), "random", pool="shraed"))


def test_coordinates_that_are_needed() -> None:
    ds = shown(SHARED)
    with pytest.raises(SelectionError, match=r"needs the coordinates session, run on 'trial'; not there: run"):
        splits(ds.drop_vars("run"), "run")
    mean = ds.betas.groupby("stimulus").mean()
    with pytest.raises(SelectionError, match="needs the coordinates session on 'stimulus'; not there: session"):
        splits(mean, "session")
    assert [test.sizes["stimulus"] for _, test in splits(mean, "images", k=4)] == [3, 3, 3, 3]
