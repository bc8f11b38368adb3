"""Embeddings by trial against reading their file and taking the rows; images at 224 px against PIL's full decode.

    python benchmarks/stimuli.py [ROOT] [--rounds 5]

Without ROOT the stimulus files are simulated in their published sizes in a temporary folder: 25,000 rows of 1,024
features, and 1,000 JPEGs of 1000 x 1000 with the detail of photographs (60 MB and half a minute).

What is timed of embeddings is the read, on all sides: opening the HDF5 file and its numbers, not the names in it, which
the plain look-up is given as row numbers. All are read in turn in one process, and the first turn does not count: the
first touch of memory that the host has yet to give takes 0 to 0.2 s on a virtual machine, whoever does it.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from measure import in_turn, ratios, run, verdict
from PIL import Image

from laion_xr import layout

N_STIMULI, N_FEATURES, N_TRIALS, N_IMAGES = 25_052, 1024, 31_000, 1000

OPEN = """
import dask, dask.array, h5py, io, numpy as np, xarray as xr
import laion_xr
from PIL import Image
root = {root!r}
names = np.array(laion_xr.load_stimuli(root).names)
order = np.random.default_rng(0).integers(0, len(names), {n_trials})
dask.array.zeros(10, chunks=5).sum().compute(scheduler="threads", num_workers=2)  # what Dask imports when it is used
trials = xr.DataArray(np.zeros(len(order)), dims="trial", coords=dict(stimulus=("trial", names[order])))
"""
EMBEDDINGS = """
import statistics, time
with h5py.File({path!r}) as file:
    at = {{name: i for i, name in enumerate(file["image_ids"].asstr()[()])}}
rows = np.array([at[name] for name in names[order]])
clip = trials.laion.embeddings("CLIP", root=root).data
def bulk():
    with h5py.File({path!r}) as file:
        return file["embedding"][()]
def by_hand():
    return bulk()[rows]
def by_trial():
    return clip.compute(scheduler="threads", num_workers=2)
taken = {{read.__name__: [] for read in (bulk, by_hand, by_trial)}}
for _ in range(15):
    for read in (bulk, by_hand, by_trial):
        started = time.perf_counter()
        read()
        taken[read.__name__].append(time.perf_counter() - started)
"""
MEDIANS = """
note = {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}
"""
PIL_IMAGES = """
with h5py.File({path!r}) as file:
    encoded = [file["images"][i].tobytes() for i in range({n_images})]
"""
FULL = """
import concurrent.futures
def one(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))
{how}
note = list(result.shape)
"""
IMAGES = """
result = images.compute(scheduler="threads", num_workers={workers})
note = list(result.shape)
"""
CHUNKS = """
total = images.astype("f8").mean()
total = total.compute(scheduler="threads", num_workers=2)
"""


def write(root: Path) -> None:
    """Write the files that are measured."""
    rng = np.random.default_rng(0)
    names = [f"unique_LAION_initial_cluster_{i}_i0_p01.jpg" for i in range(N_STIMULI)]
    (root / layout.STIMULI_DIR).mkdir(parents=True)
    table = {
        "image_name": names,
        "dataset": "LAION",
        "participant": "sub-01",
        "unique_or_shared": "unique",
        "n_reps": 1,
    }
    pd.DataFrame(table).to_csv(root / layout.stimulus_path("metadata"), index=False)
    order = rng.permutation(N_STIMULI)
    with h5py.File(root / layout.embedding_path("CLIP"), "w") as file:
        values = rng.standard_normal((N_STIMULI, N_FEATURES), np.float32).astype(np.float16)
        file.create_dataset("embedding", data=values, chunks=(256, N_FEATURES))
        file.create_dataset("image_ids", data=[names[i] for i in order], dtype=h5py.string_dtype())
        file["valid"] = rng.random(N_STIMULI) > 0.001
    # a hundred different images: about 90 KB each, as photographs have
    pictures = [photograph(rng) for _ in range(100)]
    with h5py.File(root / layout.stimulus_path("images"), "w") as file:
        images = file.create_dataset("images", (N_STIMULI,), h5py.vlen_dtype(np.uint8))
        for i in range(N_IMAGES):
            images[i] = np.frombuffer(pictures[i % 100], np.uint8)


def photograph(rng: np.random.Generator) -> bytes:
    """Return a JPEG of 1000 x 1000 with detail at every scale."""
    total = np.zeros((1000, 1000, 3), np.float32)
    for side in (4, 16, 64, 250):
        layer = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(layer.resize((1000, 1000), Image.Resampling.BICUBIC), np.float32) / side**0.25
    total = 255 * (total - total.min()) / (total.max() - total.min())
    buffer = io.BytesIO()
    Image.fromarray(total.astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def measure(root: Path, rounds: int) -> int:
    """Run every comparison; return 1 where a bound is missed."""
    paths = {
        k: str(root / p)
        for k, p in (("clip", layout.embedding_path("CLIP")), ("images", layout.stimulus_path("images")))
    }
    opened = OPEN.format(root=str(root), n_trials=N_TRIALS)
    embeddings = opened + EMBEDDINGS.format(path=paths["clip"])
    rows = f"shown = trials[:{N_IMAGES}].assign_coords(stimulus=('trial', names[:{N_IMAGES}]))\n"
    images = opened + rows + "images = shown.laion.images(224, root=root).data\nimages[:2].compute()\n"
    plain = opened + PIL_IMAGES.format(path=paths["images"], n_images=N_IMAGES)
    in_row = "result = np.array([one(data) for data in encoded])"
    in_threads = (
        "with concurrent.futures.ThreadPoolExecutor(2) as pool:\n    result = np.array(list(pool.map(one, encoded)))"
    )
    medians = [run(embeddings, "pass", MEDIANS).note for _ in range(rounds)]
    for found_in in medians:
        print("  embeddings: " + ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in found_in.items()))
    found = in_turn(
        {
            "PIL, full decode, one thread": (plain, FULL.format(how=in_row)),
            "PIL, full decode, two threads": (plain, FULL.format(how=in_threads)),
            "laion_xr, two threads": (images, IMAGES.format(workers=2)),
            "laion_xr, a mean over chunks": (images, CHUNKS),
            "opened, nothing read": (images, "pass"),
        },
        max(1, rounds // 2),
    )
    ok = True
    what = f"{N_TRIALS:,} rows by trial, over a bulk read"
    over = {name: sorted(m["by_trial"] / m[name] for m in medians) for name in ("by_hand", "bulk")}
    middle = statistics.median(over["by_hand"])
    ok &= verdict(f"{what}, then [rows]", middle, 1.5, False, (over["by_hand"][0], over["by_hand"][-1]))
    # missed where it is measured, docs and CHANGELOG say why: a smaller result, in the order of the file
    middle = statistics.median(over["bulk"])
    ok &= verdict(f"{what} alone", middle, 1.5, False, (over["bulk"][0], over["bulk"][-1]))
    ours = found["laion_xr, two threads"]
    for name, bound in (("PIL, full decode, one thread", 3), ("PIL, full decode, two threads", 3)):
        middle, *spread = ratios(found[name], ours)
        ok &= verdict(f"{N_IMAGES:,} images, times faster than {name}", middle, bound, True, tuple(spread))
    base = max(r.peak for r in found["opened, nothing read"])
    above = (max(r.peak for r in found["laion_xr, a mean over chunks"]) - base) / 1e6
    # two threads: a chunk of 64 images at 224 px (10 MB) each, as uint8 and as float64
    ok &= verdict(
        "mean over chunks, peak memory above opening, MB", above, 2 * 9 * 64 * 224 * 224 * 3 / 1e6 + 50, False
    )
    return 0 if ok else 1


def main() -> int:
    """Measure and print; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.root is None:
            write(Path(scratch))
        return measure(Path(options.root or scratch), options.rounds)


if __name__ == "__main__":
    raise SystemExit(main())
