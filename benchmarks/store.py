"""The store against everything else: one full-size session (143^3 x 1044), and 30 sessions of a smaller grid.

    python benchmarks/store.py [ROOT] [--rounds 5] [--no-idiom] [--quick]

Times are ratios of pieces run in turn, each in a process of its own, with the page cache warm (every piece reads its
files once before the clock starts). Without ROOT a full-size session is simulated (about a minute, 1.2 GB). Needs
about 14 GB of memory for the plain idiom (--no-idiom leaves it out) and 14 GB of disk. --quick: small data, one round;
the numbers mean nothing, the pieces run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import store_pieces as code
import xarray as xr
from measure import Run, in_turn, ratios, verdict
from read_session import two_sessions

import laion_xr
from laion_xr import layout
from laion_xr.catalog import Catalog

ROI = "laionventral"  # 4,250 voxels in the simulated session
CHUNKS = (128, 4096)
SUBJECT = "sub-03"  # of the 30 sessions
BLOCK = 8192  # voxels of all trials in one task


def main() -> int:
    """Measure and print; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-idiom", action="store_true", help="leave the plain idiom out: it takes 14 GB of memory")
    parser.add_argument("--no-sessions", action="store_true", help="leave the 30 sessions out")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(options.root) if options.root else Path(scratch) / "root"
        if not options.root:
            small: dict[str, Any] = {"grid": 40, "trials": 300, "sessions": 1, "subjects": 1}
            laion_xr.simulate(root, **(small if options.quick else {"full_size": True}))
        ok = one_session(root, Path(scratch), rounds, not options.no_idiom)
        if not options.no_sessions:
            many = Path(scratch) / "many"
            simulate_sessions(many, 4 if options.quick else 30, 30 if options.quick else 60)
            ok &= sessions(many, Path(scratch), rounds)
        print(f"load {os.getloadavg()[0]:.1f}")
        return 0 if ok else 1


def one_session(root: Path, scratch: Path, rounds: int, with_idiom: bool) -> bool:
    """Compare everything that is about one session."""
    catalog = Catalog.scan(root).subject()
    files = catalog.sessions_with_betas()[0]
    path, store = str(root / files.files["betas"].path), str(scratch / "laion.zarr")
    size = os.path.getsize(path)
    ok = ingest(root, path, scratch, store, catalog.subject, files.session, rounds)
    stored = sum(p.stat().st_size for p in Path(store).rglob("*") if p.is_file())
    ok &= verdict("size of the store over that of the source", stored / size, 1.05, False)

    values = {
        "root": str(root),
        "store": store,
        "betas": path,
        "mask": str(root / catalog.maps["brain_mask"].path),
        "roi": str(root / next(e.path for (_, name), e in catalog.rois.items() if name == ROI)),
    }
    pieces = store_pieces(values) | own_copies(root, scratch)
    plain = code.PLAIN.format(**values)
    slow = {"gzip stream (standard library), ROI": (plain, code.STREAM.format(**values), code.NOTE)}
    if with_idiom:
        slow["plain idiom (nibabel, whole array, mask)"] = (plain, code.IDIOM.format(**values), code.IDIOM_NOTE)
    found = in_turn(pieces, rounds) | in_turn(slow, 1 if rounds == 1 else 2)
    return compare(found, list(slow)) and ok


def store_pieces(values: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Return what is read from the store."""
    opened = code.OPEN.format(**values)
    picks = {"ROI": f".sel(roi={ROI!r})", "one trial": ".isel(trial=[200])", "whole session": ""}
    return {
        f"store, {name}": (
            opened,
            code.READ_STORE.format(pick=pick),
            code.AGAIN if name != "whole session" else code.NOTE,
        )
        for name, pick in picks.items()
    }


def own_copies(root: Path, scratch: Path) -> dict[str, tuple[str, ...]]:
    """Write the masked matrix as a lab would keep it; return how its ROI is read."""
    ds = xr.open_dataset(root, engine="laion_fmri", sessions=["ses-01"], source="nifti")
    matrix = ds.betas.values
    columns = np.flatnonzero(np.isin(ds["voxel"].values, ds.sel(roi=ROI)["voxel"].values))
    np.save(scratch / "columns.npy", columns)
    np.save(scratch / "rows.npy", matrix)
    np.save(scratch / "columns_first.npy", np.ascontiguousarray(matrix.T))
    chunks = (min(CHUNKS[0], len(matrix)), min(CHUNKS[1], matrix.shape[1]))
    kinds: dict[str, dict[str, Any]] = {
        "h5py, contiguous": {},
        "h5py, chunked": {"chunks": chunks},
        "h5py, chunked, lzf": {"chunks": chunks, "compression": "lzf", "shuffle": True},
    }
    places = {name: str(scratch / f"{n}.h5") for n, name in enumerate(kinds)}
    for name, options in kinds.items():
        with h5py.File(places[name], "w") as file:
            file.create_dataset("betas", data=matrix, **options)
    more = {"columns": str(scratch / "columns.npy")}
    pieces = {
        f"{name}, ROI": (code.MATRIX.format(path=path, **more), code.H5PY.format(path=path), code.AGAIN)
        for name, path in places.items()
    }
    memmaps = {
        "memmap (trial, voxel)": ("rows.npy", "np.take(matrix, columns, axis=1)"),
        "memmap (voxel, trial)": ("columns_first.npy", "matrix[columns].T"),
    }
    for name, (file, expression) in memmaps.items():
        path = str(scratch / file)
        body = code.MEMMAP.format(path=path, expression=expression)
        pieces[f"{name}, ROI"] = (code.MATRIX.format(path=path, **more), body, code.AGAIN)
    return pieces


def compare(found: dict[str, list[Run]], slow: list[str]) -> bool:
    """Print what was measured, and the bounds."""
    print("\n| | first read, ms | again, ms | CPU, ms | peak, MB |\n|---|---|---|---|---|")
    for name, runs in found.items():
        again = [t for r in runs for t in r.note.get("again", ())]
        cells = [
            spread_text([r.seconds for r in runs]),
            spread_text(again) if again else "",
            f"{statistics.median(r.cpu for r in runs) * 1e3:.0f}",
            f"{max(r.peak for r in runs) / 1e6:.0f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print()
    agree = {r.note["crc"] for name, runs in found.items() if name.endswith("ROI") or name in slow for r in runs}
    ok = verdict("different results for the ROI", len(agree), 1, False)
    roi, whole, trial = (found[f"store, {name}"] for name in ("ROI", "whole session", "one trial"))
    stream = found[slow[0]]
    middle, *spread = ratios(stream, roi)
    ok &= verdict("ROI, times faster than a gzip stream", middle, 100, True, (spread[0], spread[1]))
    if len(slow) > 1:
        idiom = found[slow[1]]
        middle, *spread = ratios(idiom, roi)
        ok &= verdict("ROI, times faster than the idiom", middle, 500, True, (spread[0], spread[1]))
        values = [a.note["whole"] / b.seconds for a, b in zip(idiom, whole, strict=False)]
        ok &= verdict("whole session, times faster", statistics.median(values), 40, True, (min(values), max(values)))
    seconds = [r.seconds * 1e3 for r in trial]
    ok &= verdict("one trial, ms", statistics.median(seconds), 100, False, (min(seconds), max(seconds)))
    same_order = [n for n in found if n.endswith("ROI") and not n.startswith(("store", "gzip", "memmap (voxel"))]
    for names, text in ((same_order, "the same matrix"), (["memmap (voxel, trial), ROI"], "the matrix transposed")):
        best = min(names, key=lambda n: statistics.median(r.seconds for r in found[n]))
        middle, *spread = ratios(roi, found[best])
        ok &= (
            verdict(f"ROI, over {best} ({text})", middle, 1.3, False, (spread[0], spread[1]))
            or text != "the same matrix"
        )
    return ok


def ingest(root: Path, path: str, scratch: Path, store: str, subject: str, session: str, rounds: int) -> bool:
    """Compare ingest with bare inflation: one worker, and as many as there are cores for."""
    both = two_sessions(root, subject, session, scratch / "twice")
    pieces = {
        "inflation alone": (code.INFLATE.format(betas=[path]), code.INFLATE_BODY),
        "ingest, 1 worker": (
            code.INGEST.format(root=str(root), store=store, betas=[path], workers=1),
            code.INGEST_BODY.format(root=str(root), store=store),
        ),
        "inflation alone, 2 at once": (code.INFLATE.format(betas=[path, path]), code.INFLATE_BODY),
        "ingest, 2 workers": (
            code.INGEST.format(root=str(both), store=store + "2", betas=[path], workers=2),
            code.INGEST_BODY.format(root=str(both), store=store + "2"),
        ),
    }
    found = in_turn(pieces, rounds)
    shutil.rmtree(store + "2")
    ok = True
    for alone, filled, text in (
        ("inflation alone", "ingest, 1 worker", "a worker"),
        ("inflation alone, 2 at once", "ingest, 2 workers", "the machine, 2 workers"),
    ):
        middle, *spread = ratios(found[alone], found[filled])
        ok &= verdict(f"ingest, of the speed of inflation: {text}", middle, 0.85, True, (spread[0], spread[1]))
        workers = 1 if text == "a worker" else 2
        ok &= verdict(
            f"ingest, memory of {text}, MB a worker", max(r.peak for r in found[filled]) / 1e6 / workers, 1500, False
        )
        print(
            f"     CPU: inflation {statistics.median(r.cpu for r in found[alone]):.1f} s, "
            f"ingest {statistics.median(r.cpu for r in found[filled]):.1f} s"
        )
    return ok


def simulate_sessions(root: Path, n: int, grid: int) -> None:
    """Write sessions with trial tables of their own; the betas of all are those of two, by links."""
    common: dict[str, Any] = {
        "subjects": [SUBJECT],
        "trials": 1044,
        "n_shared_12": 70 * n,  # most trials are repeats: about 7,000 distinct images in 30 sessions
        "n_shared_4": 13 * n,
        "models": False,
        "surfaces": False,
        "stimuli": ["metadata"],
    }
    tables, betas = root.with_name("tables"), root.with_name("betas")
    laion_xr.simulate(tables, sessions=n, grid=8, **common)
    laion_xr.simulate(betas, sessions=2, grid=grid, **common)
    shutil.copytree(betas, root, ignore=shutil.ignore_patterns("*SingletrialBetas*"))
    for number in range(n):
        session, source = f"ses-{number + 1:02}", f"ses-{number % 2 + 1:02}"
        (root / layout.session_dir(SUBJECT, session)).mkdir(parents=True, exist_ok=True)
        for folder, kind, name in ((tables, "trials", session), (betas, "betas", source)):
            os.symlink(
                folder / layout.session_path(SUBJECT, name, kind), root / layout.session_path(SUBJECT, session, kind)
            )


def sessions(root: Path, scratch: Path, rounds: int) -> bool:
    """Compare an analysis of all trials with reading them."""
    store, workers = str(scratch / "many.zarr"), os.cpu_count() or 1
    laion_xr.ingest(root, store, progress=False)
    prepare = code.SESSIONS.format(root=str(root), store=store, workers=workers)
    analysis = "z-score by session, mean of repeats"
    found = in_turn(
        {
            "every session read, nothing kept": (prepare, code.BARE),
            f"every block of {BLOCK} voxels read": (prepare, code.BARE_BLOCKS.format(block=BLOCK)),
            analysis: (prepare, code.ANALYSIS, code.ANALYSIS_NOTE),
        },
        rounds,
    )
    bare, _, whole = found.values()
    shape = whole[0].note["shape"]
    n_bytes = 4 * shape[0] * shape[1]
    print(
        f"{shape[0]} trials of {whole[0].note['images']} images x {shape[1]} voxels, {n_bytes / 1e9:.1f} GB; "
        f"{workers} threads"
    )
    for name, runs in found.items():
        rates = [n_bytes / r.seconds / 1e9 for r in runs]
        print(f"     {name}: {statistics.median(rates):.2f} GB/s, CPU {statistics.median(r.cpu for r in runs):.1f} s")
    middle, *spread = ratios(bare, whole)
    ok = verdict(f"{analysis}, of the rate of reading", middle, 0.5, True, (spread[0], spread[1]))
    ok &= verdict(f"{analysis}, peak memory, GB", max(r.peak for r in whole) / 1e9, 4, False)
    ok &= verdict(f"{analysis}, difference from xarray's groupby", max(r.note["error"] for r in whole), 1e-4, False)
    return ok


def spread_text(seconds: list[float], scale: float = 1e3) -> str:
    """Return a median and its range."""
    low, high = min(seconds) * scale, max(seconds) * scale
    return f"{statistics.median(seconds) * scale:.0f} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    raise SystemExit(main())
