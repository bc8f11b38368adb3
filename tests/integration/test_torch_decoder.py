"""A linear decoder that is trained on simulated trials through the loader does nearly what the truth allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

import laion_xr
from laion_xr.simulate import Truth
from laion_xr.torch import Loader

ROI, SUBJECT, MODEL = "FFA1", "sub-03", "CLIP"
Floats = npt.NDArray[np.floating[Any]]


def best_features(truth: Truth, test: Any) -> Floats:
    """The posterior mean of the latent features given what the simulator knows: no decoder does better."""
    known = truth[SUBJECT]
    inside = np.isin(known.voxels, test.voxel.values)
    weights, sd = known.weights[inside].astype("f8"), known.noise_sd[inside].astype("f8")
    precision = np.divide(1, sd**2, out=np.zeros_like(sd), where=sd > 0)
    found = []
    for session, trial in zip(test.session.values, test.session_trial.values, strict=True):
        betas = truth.betas(SUBJECT, session, [int(trial)])[0, inside]
        betas = (betas - known.offsets[session][inside]) / known.gains[session] - known.mean[inside]
        scaled = weights * np.where(np.isfinite(betas), precision, 0)[:, None]
        found.append(np.linalg.solve(np.eye(weights.shape[1]) + scaled.T @ weights, scaled.T @ np.nan_to_num(betas)))
    return np.array(found)


def identified(predicted: Floats, shown: list[str], candidates: dict[str, Floats]) -> float:
    """How often the prediction of a trial is more like its own image than like another: 0.5 is chance."""
    names = list(candidates)
    of_trial = np.array([names.index(name) for name in shown])
    r = np.corrcoef(predicted, np.array(list(candidates.values())))[: len(predicted), len(predicted) :]
    own = r[np.arange(len(r)), of_trial]
    return float((r < own[:, None]).sum() / (len(r) * (len(names) - 1)))


def test_a_decoder_does_nearly_what_the_truth_allows(tmp_path: Path) -> None:
    truth = laion_xr.simulate(
        tmp_path / "root",
        subjects=[SUBJECT],
        sessions=3,
        trials=400,
        stimuli=["metadata", "embeddings"],
        surfaces=False,
        models=False,
        seed=1,
    )
    laion_xr.ingest(tmp_path / "root", tmp_path / "store", progress=False)
    ds = xr.open_dataset(tmp_path / "root", engine="laion_fmri", store=tmp_path / "store", source="store")
    ds = ds.sel(roi=ROI).laion.zscore()
    train, test = ds.laion.split("random_0", pool=SUBJECT, images=ds.stimulus)
    assert not set(train.stimulus.values) & set(test.stimulus.values)

    torch.manual_seed(0)
    model = torch.nn.Linear(train.sizes["voxel"], 64)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1.0)
    loader = Loader(train.laion.to_torch(batch_size=64, embedding=MODEL, nan=0.0))
    for _ in range(40):
        for batch in loader:
            known = torch.isfinite(batch["embedding"]).all(dim=1)
            loss = torch.nn.functional.mse_loss(model(batch["betas"][known]), batch["embedding"][known])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    predicted, shown, trials = [], [], []
    candidates: dict[str, Floats] = {}
    for batch in test.laion.to_torch(batch_size=64, embedding=MODEL, nan=0.0, shuffle=False):
        known = torch.isfinite(batch["embedding"]).all(dim=1)
        with torch.no_grad():
            predicted.append(model(batch["betas"][known]).numpy())
        kept = np.flatnonzero(known.numpy()).tolist()
        shown += [batch["stimulus"][i] for i in kept]
        trials += batch["trial"][known].tolist()
        candidates |= {batch["stimulus"][i]: batch["embedding"][i].numpy() for i in kept}
    best = best_features(truth, test.sel(trial=trials)) @ truth.stimuli.embedding_map(MODEL)
    reached, possible = identified(np.concatenate(predicted), shown, candidates), identified(best, shown, candidates)
    assert 0.8 < possible < 0.97  # neither nothing nor everything can be told
    assert possible - 0.08 < reached < possible + 0.02
    shuffled = [shown[i] for i in np.random.default_rng(0).permutation(len(shown))]
    assert abs(identified(np.concatenate(predicted), shuffled, candidates) - 0.5) < 0.1
