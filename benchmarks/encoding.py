"""Encoding models and permutation tests: laion_xr against scikit-learn, himalaya and a loop, on the same data.

    python benchmarks/encoding.py [FOLDER] [--grid 40] [--features 128] [--rounds 2] [--quick]

30 sessions of 1,044 trials on a small grid are simulated and ingested, in FOLDER where it is given (and found there the
next time), else in a temporary folder. Each piece runs in a process of its own; reading is part of every time. The
others read the whole matrix first, and get it in blocks of voxels, as whole they take several copies of it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from measure import in_turn, ratios, verdict
from store import SUBJECT, simulate_sessions

import laion_xr

OPEN = """
import numpy as np, xarray as xr
from laion_xr.analysis import encode
from laion_xr.analysis.features import fold_of_rows, row_groups
ds = xr.open_dataset({root!r}, engine="laion_fmri", subject={subject!r}, store={store!r}, source="store")
names = np.unique(ds.stimulus.values)
features = xr.DataArray(
    np.random.default_rng(0).standard_normal((len(names), {features})).astype("f4"),
    dims=("stimulus", "feature"), coords={{"stimulus": names}},
)
alphas = np.logspace(0, 5, 10)
folds = fold_of_rows(row_groups(ds.betas, "trial", None), 5, 0)[0]
"""
NOTE = """
note = {"shape": list(ds.betas.shape), "alpha": float(np.nanmedian(alpha)), "voxels": int(np.isfinite(alpha).sum())}
"""
OURS = """
found = encode(ds, features, alphas=alphas, cv=folds, nested={nested}, missing={missing!r}).compute()
alpha = found.alpha.values
"""
MATRIX = """
x = features.sel(stimulus=ds.stimulus.values).values
betas = ds.betas.values
keep = np.isfinite(betas).all(axis=0)
blocks = [betas[:, block] for block in np.array_split(np.flatnonzero(keep), max(1, keep.sum() // 2000))]
"""
SCIKIT_LEARN = (
    MATRIX
    + """
from sklearn.linear_model import RidgeCV
alpha = np.concatenate([RidgeCV(alphas, alpha_per_target=True).fit(x, y).alpha_ for y in blocks])
"""
)
# the first 1,000 voxels only: they alone take one and a half minutes, 500 and two alphas at a time
HIMALAYA = (
    MATRIX
    + """
from himalaya.ridge import RidgeCV
from sklearn.model_selection import PredefinedSplit
parts = {{"n_targets_batch": 500, "n_alphas_batch": 2}}
model = RidgeCV(alphas, fit_intercept=True, cv=PredefinedSplit(folds), solver_params=parts)
alpha = model.fit(x, betas[:, np.flatnonzero(keep)[:1000]]).best_alphas_
"""
)

SHUFFLE = """
import numpy as np, xarray as xr
from laion_xr.analysis import permutation_test
rng = np.random.default_rng(0)
n, n_voxels = 1000, 4000
betas = xr.DataArray(rng.standard_normal((n, n_voxels)).astype("f4"), dims=("stimulus", "voxel"),
                     coords={"stimulus": np.arange(n).astype(str)})
one = xr.DataArray(rng.standard_normal(n).astype("f4"), dims="stimulus", coords={"stimulus": betas.stimulus})
each = one * xr.DataArray(np.ones(n_voxels, "f4"), dims="voxel")
each = each + rng.standard_normal((n, n_voxels)).astype("f4")  # a prediction for each voxel
"""
TEST = """
found = permutation_test(betas, {predictor}, n_permutations={n}, seed=1)
"""
TEST_NOTE = """
note = float(found.p.mean())
"""
LOOP = """
x, y = {predictor}.values.reshape(n, -1), betas.values
def correlation(x):
    a, b = x - x.mean(0), y - y.mean(0)
    return (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))
observed, reached = correlation(x), 0
for _ in range({n}):
    reached = reached + (correlation(x[rng.permutation(n)]) >= observed)
p = (1 + reached) / (1 + {n})
"""
LOOP_NOTE = """
note = float(p.mean())
"""


def main() -> int:
    """Measure and print; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--grid", type=int, default=40)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="small data, one round: does it run?")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch)
        root, store = folder / "sessions", folder / "laion.zarr"
        if not store.exists():
            folder.mkdir(parents=True, exist_ok=True)
            simulate_sessions(root, 4 if options.quick else 30, 16 if options.quick else options.grid)
            laion_xr.ingest(root, store, progress=False)
        ok = ridge(str(root), str(store), options.features, rounds)
        ok &= permutations(rounds, 50 if options.quick else 1000)
    print(f"load {os.getloadavg()[0]:.1f}")
    return 0 if ok else 1


def ridge(root: str, store: str, features: int, rounds: int) -> bool:
    """Compare ridge regression of all voxels."""
    opened = OPEN.format(root=root, store=store, subject=SUBJECT, features=features)
    found = in_turn(
        {
            "laion_xr": (opened, OURS.format(nested=False, missing="nan"), NOTE),
            "laion_xr, nested scores": (opened, OURS.format(nested=True, missing="nan"), NOTE),
            "scikit-learn RidgeCV (leave one trial out)": (opened, SCIKIT_LEARN, NOTE),
            "himalaya RidgeCV, the same folds, 1,000 voxels": (opened, HIMALAYA.format(), NOTE),
        },
        rounds,
    )
    # what the others cannot do: the voxels that lack some betas
    found |= in_turn({"laion_xr, missing betas left out": (opened, OURS.format(nested=False, missing="omit"), NOTE)}, 1)
    ours, nested, *_ = found.values()
    shape = ours[0].note["shape"]
    print(
        f"{shape[0]} trials x {shape[1]} voxels, {4 * shape[0] * shape[1] / 1e9:.1f} GB; {features} features, 10 alphas"
    )
    for name, runs in found.items():
        note = runs[0].note
        print(f"     {name}: median alpha {note['alpha']:.0f}, {note['voxels']} voxels")
    ok = True
    for name, runs in list(found.items())[2:4]:
        for what, mine in (("", ours), (" (nested scores)", nested)):
            middle, *spread = ratios(runs, mine)
            ok &= verdict(f"times faster{what} than {name}", middle, 1, True, (spread[0], spread[1]))
        print(f"     its peak memory {max(r.peak for r in runs) / 1e9:.1f} GB")
    ok &= verdict("peak memory, GB", max(r.peak for r in (*ours, *nested)) / 1e9, 2, False)
    return ok


def permutations(rounds: int, n: int) -> bool:
    """Compare shuffles of 1,000 images x 4,000 voxels with one correlation a shuffle."""
    ok = True
    for predictor, text, bound in (("one", "one predictor", 20), ("each", "a prediction for each voxel", 1)):
        found = in_turn(
            {
                f"permutation_test, {text}": (SHUFFLE, TEST.format(predictor=predictor, n=n), TEST_NOTE),
                f"loop, {text}": (SHUFFLE, LOOP.format(predictor=predictor, n=n), LOOP_NOTE),
            },
            rounds,
        )
        ours, loop = found.values()
        middle, *spread = ratios(loop, ours)
        ok &= verdict(f"{n} shuffles, {text}: times faster", middle, bound, True, (spread[0], spread[1]))
        print(f"     mean p: {ours[0].note:.4f}, of the loop {loop[0].note:.4f}")
    return ok


if __name__ == "__main__":
    raise SystemExit(main())
