"""A PyTorch loader over the store, beside a loader that reads `.nii.gz` trial by trial, and beside the bare store.

    python benchmarks/torch_loader.py [ROOT] [--store STORE] [--sessions N] [--roi ROI] [--epochs 4] [--rounds 3]
                                      [--items 4] [--quick]

All in one run, in turn, each in a process of its own, files in the page cache:

- the bare store: its reader, whole sessions, all voxels, into memory that is used again, no shuffling, no batches;
- `Loader(ds.laion.to_torch(batch_size=32), num_workers=2)`: whole epochs. The first has the start of the workers in it,
  and the first touch of their memory, which the bare store has behind it; it is told apart from the later ones;
- a map dataset over nibabel's `dataobj[..., i]` and the brain mask with 2 workers, as loaders are written: a few items,
  evenly spaced over the session, as each inflates the file up to it (a whole epoch would take hours).

Without ROOT a full-size session is simulated (about a minute, 1.2 GB), with --sessions as many of a smaller grid
(97,665 voxels; 30 of them are 11 GB in the store), and ingested without STORE. Prints how far apart neighbours of the
store end up. --quick: small data, one round; the numbers mean nothing, the pieces run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from measure import Run, in_turn, verdict
from store import simulate_sessions

import laion_xr
from laion_xr.torch import neighbour_distance, to_torch

BATCH, WORKERS = 32, 2

OPEN = """
import time
import numpy as np, torch, xarray as xr
import laion_xr
from laion_xr.lazy.array import plan_of
from laion_xr.torch import Loader, to_torch
ds = xr.open_dataset({root!r}, engine="laion_fmri", subject={subject!r}, store={store!r}, source="store")
if {roi!r}:
    ds = ds.sel(roi={roi!r})
plan = plan_of(ds.betas.data)
"""
# also touches all files once
BARE = """
out = np.empty((max(r.shape[0] for r in plan.readers), len(plan.voxels)), "f4")
for reader in plan.readers:
    reader.read(slice(None), plan.voxels.ids, out=out[: reader.shape[0]])
"""
BARE_BODY = """
for epoch in range({epochs}):
    for reader in plan.readers:
        reader.read(slice(None), plan.voxels.ids, out=out[: reader.shape[0]])
"""
WARM = """
for path in __import__("pathlib").Path({store!r}).rglob("*"):
    if path.is_file():
        path.read_bytes()
"""
LOADER = """
def main():
    loader = Loader(to_torch(ds, batch_size={batch}), num_workers={workers}, persistent_workers=True)
    seconds = []
    for epoch in range({epochs}):
        started = time.perf_counter()
        n = 0
        for batch in loader:
            n += len(batch["trial"])
        seconds.append(time.perf_counter() - started)
        assert n == ds.sizes["trial"]
    return seconds
"""
LOADER_BODY = "seconds = main()"
LOADER_NOTE = """
note = {{"trials": {epochs} * ds.sizes["trial"], "voxels": ds.sizes["voxel"], "seconds": seconds}}
"""
NOTE = """
note = {{"trials": {epochs} * ds.sizes["trial"], "voxels": ds.sizes["voxel"]}}
"""
PER_ITEM = """
import nibabel as nib, numpy as np, torch
from torch.utils.data import DataLoader, Dataset
mask = np.asarray(nib.load({mask!r}).dataobj) > 0
for path in {files!r}:
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass
class PerItem(Dataset):
    def __init__(self):
        self.images = [nib.load(path) for path in {files!r}]
        self.of = [(s, t) for s, image in enumerate(self.images) for t in range(image.shape[3])]
    def __len__(self):
        return len(self.of)
    def __getitem__(self, i):
        session, trial = self.of[i]
        return torch.from_numpy(np.asarray(self.images[session].dataobj[..., trial])[mask].astype("f4"))
dataset = PerItem()
# in the middle of as many stretches: what an item of a shuffled epoch costs on average
items = [int((k + 0.5) * len(dataset) / {items}) for k in range({items})]
"""
PER_ITEM_BODY = """
for batch in DataLoader(dataset, batch_size=1, sampler=items, num_workers={workers}):
    pass
"""
PER_ITEM_NOTE = """
note = {"trials": len(items), "voxels": int(mask.sum())}
"""


def main() -> int:
    """Measure and print; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?")
    parser.add_argument("--store")
    parser.add_argument("--subject", default=None)
    parser.add_argument("--roi", default="")
    parser.add_argument("--sessions", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        root = options.root or str(Path(scratch) / "root")
        if not options.root:
            small: dict[str, Any] = {"grid": 40, "trials": 300, "sessions": 1, "subjects": 1}
            if options.sessions and not options.quick:
                simulate_sessions(Path(root), options.sessions, 78)
            else:
                laion_xr.simulate(root, **(small if options.quick else {"full_size": True}))
        store = options.store or str(Path(scratch) / "store.zarr")
        subject = options.subject or sorted(p.name for p in Path(root, "derivatives/glmsingle-tedana").iterdir())[0]
        if not options.store:
            laion_xr.ingest(root, store, subjects=[subject], progress=False)
        return measure(Path(root), store, subject, options, rounds)


def measure(root: Path, store: str, subject: str, options: argparse.Namespace, rounds: int) -> int:
    """Run the pieces in turn; return 1 where a bound is missed."""
    values: dict[str, Any] = {"root": str(root), "store": store, "subject": subject, "roi": options.roi}
    values |= {"epochs": options.epochs, "batch": BATCH, "workers": WORKERS, "items": options.items}
    files = sorted(map(str, (root / "derivatives/glmsingle-tedana" / subject).rglob("*SingletrialBetas*.nii.gz")))
    mask = next((root / "derivatives/anatomical").rglob(f"{subject}*res-1pt8_desc-brain_mask.nii.gz"))
    values |= {"files": files, "mask": str(mask)}
    opened = (OPEN + WARM).format(**values)
    found = in_turn(
        {
            "the bare store": (opened + BARE, BARE_BODY.format(**values), NOTE.format(**values)),
            "loader, 2 workers": (opened + LOADER.format(**values), LOADER_BODY, LOADER_NOTE.format(**values)),
            "per item, .nii.gz": (PER_ITEM.format(**values), PER_ITEM_BODY.format(**values), PER_ITEM_NOTE),
        },
        rounds,
    )
    rates = {name: [r.note["trials"] / r.seconds for r in runs] for name, runs in found.items()}
    for name, of_rounds in rates.items():
        note = found[name][0].note
        print(f"  {name}: {statistics.median(of_rounds):.1f} trials/s, {note['trials']} of {note['voxels']:,} voxels")
    shuffling(root, store, subject, options.roi)
    ok = compare("times the rate of a per-item loader", rates["loader, 2 workers"], rates["per item, .nii.gz"], 5)
    bare, runs = rates["the bare store"], found["loader, 2 workers"]
    n = runs[0].note["trials"] / options.epochs
    first = [n / run.note["seconds"][0] / rate for run, rate in zip(runs, bare, strict=True)]
    print(f"  first epoch, with the start of the workers: {statistics.median(first):.2f} of the bare store's rate")
    if options.epochs > 1:
        later = [n / statistics.median(run.note["seconds"][1:]) for run in runs]
        ok &= compare("of the bare store's rate, later epochs", later, bare, 0.5)
    print(f"load {os.getloadavg()[0]:.1f}; peak of the main process {peak(found['loader, 2 workers']):.0f} MB")
    return 0 if ok else 1


def compare(text: str, ours: list[float], theirs: list[float], bound: float) -> bool:
    """Print the median ratio of rates with its spread."""
    values = [a / b for a, b in zip(ours, theirs, strict=True)]
    return verdict(text, statistics.median(values), bound, True, (min(values), max(values)))


def shuffling(root: Path, store: str, subject: str, roi: str) -> None:
    """Print how far apart neighbours of the store end up, with one worker."""
    ds = xr.open_dataset(root, engine="laion_fmri", subject=subject, store=store, source="store")
    stream = to_torch(ds.sel(roi=roi) if roi else ds, batch_size=BATCH)
    order = np.concatenate([rows for _, rows in stream.rows()])
    sessions = ds.session.values
    mixed = statistics.mean(len(np.unique(sessions[rows])) for _, rows in stream.rows())
    print(
        f"  shuffling: neighbours end up {neighbour_distance(order):.2f} as far apart as in a full shuffle, "
        f"{mixed:.1f} of {len(np.unique(sessions))} sessions a batch (buffer {stream.orders[0].buffer} of {len(order)})"
    )


def peak(runs: list[Run]) -> float:
    """Return the largest peak in MB."""
    return max(run.peak for run in runs) / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
