"""How ingest and reading grow with workers: measured here with 1, 2 and 4, projected to 5 subjects of 30 sessions.

    python benchmarks/scale.py [ROOT] [--network 0.1] [--storage 5] [--rounds 2] [--quick]

Workers are processes of a LocalCluster, as on a cluster, and share the cores and the disk of this machine; the
projection is for workers that have their own. What it assumes is printed with it. Without ROOT a full-size session is
simulated in a temporary folder (about a minute, 1.2 GB); it serves four times, by links.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from measure import in_turn

import laion_xr
from laion_xr import layout
from laion_xr.catalog import Catalog
from laion_xr.store import store_info

WORKERS = (1, 2, 4)
SESSIONS = 4
PROJECTED = (1, 10, 100)
SUBJECTS, SESSIONS_EACH = 5, 30
ROI = "laionventral"

CLUSTER = """
import dask, os, pathlib, shutil, warnings
import laion_xr, laion_xr.store, xarray as xr
from distributed import Client, LocalCluster
dask.config.set({{"distributed.worker.profile.enabled": False}})
cluster = LocalCluster(n_workers={workers}, threads_per_worker=1, dashboard_address=None, memory_limit="4GB")
client = Client(cluster)
client.run(lambda: __import__("laion_xr.store"))

def used():
    def seconds():
        import resource
        found = resource.getrusage(resource.RUSAGE_SELF)
        return found.ru_utime + found.ru_stime
    return sum(client.run(seconds).values())

def peak():
    def most():
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(client.run(most).values())

def nothing(block):
    import numpy as np
    return np.zeros((1, 1), "f4")
"""
INGEST = (
    CLUSTER
    + """
shutil.rmtree({store!r}, ignore_errors=True)
plan = laion_xr.plan_ingest({root!r}, {store!r}, workers={workers})
begin = used()
"""
)
INGEST_BODY = """
laion_xr.ingest({root!r}, {store!r}, plan=plan, progress=False)
"""
READ = (
    CLUSTER
    + """
ds = xr.open_dataset({root!r}, engine="laion_fmri", store={store!r}, source={source!r})
betas = ds.betas
whole = betas.data.map_blocks(nothing, dtype="f4", chunks=(1, 1))
roi = betas.sel(roi={roi!r}).data.map_blocks(nothing, dtype="f4", chunks=(1, 1))
begin = used()
"""
)
AFTER = """
note = {"cpu": used() - begin, "peak": peak()}
client.close()
cluster.close()
"""


def main() -> None:
    """Measure, project, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--network", type=float, default=0.1, help="GB/s between a worker and the storage")
    parser.add_argument(
        "--storage", type=float, default=5.0, help="GB/s that the storage gives to all workers together"
    )
    parser.add_argument("--quick", action="store_true", help="a small session, one round: does it run?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(options.root) if options.root else Path(scratch) / "root"
        if not options.root:
            small: dict[str, Any] = {"grid": 30, "trials": 100, "sessions": 1, "subjects": 1}
            laion_xr.simulate(root, **(small if options.quick else {"full_size": True}))
        measured = measure(root, Path(scratch), 1 if options.quick else options.rounds)
    project(measured, options.network, options.storage)


def measure(root: Path, scratch: Path, rounds: int) -> dict[str, float]:
    """Measure 1, 2 and 4 workers; return seconds and bytes a session, of one worker."""
    several = sessions_by_links(root, scratch / "sessions", SESSIONS)
    store = str(scratch / "laion.zarr")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {SESSIONS} sessions, {rounds} rounds", flush=True)
    places = {"root": str(several), "store": store, "roi": ROI}
    reads = {"whole sessions": "whole.compute()", f"ROI ({ROI})": "roi.compute()"}
    without = f"ROI ({ROI}), no store"
    pieces: dict[str, tuple[str, ...]] = {}
    for n in WORKERS:
        values = {**places, "workers": n}
        pieces[f"ingest, {n}"] = (INGEST.format(**values), INGEST_BODY.format(**places), AFTER)
        for name, body in reads.items():
            pieces[f"{name}, {n}"] = (READ.format(**values, source="store"), body, AFTER)
        pieces[f"{without}, {n}"] = (READ.format(**values, source="nifti"), "roi.compute()", AFTER)
    found = in_turn(pieces, rounds)

    def middle(name: str) -> float:
        return statistics.median(run.seconds for run in found[name]) / SESSIONS

    print("\n| | 1 worker, s a session | 2 | 4 | CPU s a session | peak of a worker, MB |\n|---|---|---|---|---|---|")
    for name in ("ingest", *reads, without):
        cells = [f"{middle(f'{name}, {n}'):.2f}" for n in WORKERS]
        cpu = statistics.median(run.note["cpu"] for run in found[f"{name}, 1"]) / SESSIONS
        peak = max(run.note["peak"] for n in WORKERS for run in found[f"{name}, {n}"])
        print(f"| {name} | {' | '.join(cells)} | {cpu:.2f} | {peak / 1e6:.0f} |")
    files = Catalog.scan(root).subject().sessions_with_betas()[0]
    info = store_info(store)
    roi = 0.05 * info.size / SESSIONS  # 3 of 66 columns of chunks
    return {
        "source": files.files["betas"].size,
        "stored": info.size / SESSIONS,
        "roi_bytes": roi,
        "ingest": middle("ingest, 1"),
        "whole": middle("whole sessions, 1"),
        "roi": middle(f"ROI ({ROI}), 1"),
        "without": middle(f"{without}, 1"),
    }


def project(measured: dict[str, float], network: float, storage: float) -> None:
    """Print what all sessions of all subjects cost."""
    n = SUBJECTS * SESSIONS_EACH
    print(
        f"\n{SUBJECTS} subjects x {SESSIONS_EACH} sessions = {n} sessions, {n * measured['source'] / 1e9:.0f} GB of "
        f"source, {n * measured['stored'] / 1e9:.0f} GB of store. Assumed: each worker is as fast as the one alone "
        f"here and has its own {os.cpu_count()} cores; computing overlaps with transfers; {network:g} GB/s between a "
        f"worker and the storage, {storage:g} GB/s of the storage for all together; no queueing, no failures; a "
        "session is not divided, so that the last round may be half empty."
    )
    jobs = {
        "ingest": (measured["ingest"], measured["source"] + measured["stored"]),
        "every session read once from the store": (measured["whole"], measured["stored"]),
        f"one ROI ({ROI}) of every session": (measured["roi"], measured["roi_bytes"]),
        "for comparison: one ROI without a store": (measured["without"], measured["source"]),
    }
    print("\n| | workers | computing | transfers | takes | bound by |\n|---|---|---|---|---|---|")
    for name, (seconds, n_bytes) in jobs.items():
        for workers in PROJECTED:
            computing = math.ceil(n / workers) * seconds
            moving = n * n_bytes / 1e9 / min(workers * network, storage)
            shared = "the storage" if workers * network > storage else "the network of the workers"
            bound = "computing" if computing > moving else shared
            cells = [duration(computing), duration(moving), duration(max(computing, moving)), bound]
            print(f"| {name} | {workers} | {' | '.join(cells)} |")


def sessions_by_links(root: Path, into: Path, n: int) -> Path:
    """Make a root with a session several times, by links."""
    catalog = Catalog.scan(root).subject()
    subject, session = catalog.subject, catalog.sessions_with_betas()[0].session
    folder = layout.session_dir(subject, session)
    for path in root.rglob("*"):
        relative = str(path.relative_to(root))
        if not path.is_file() or subject not in relative:
            continue
        inside = relative.startswith(folder)
        for name in [relative.replace(session, f"ses-{i + 1:02}") for i in range(n)] if inside else [relative]:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(path, into / name)
    return into


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (math.inf, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"
    raise AssertionError


if __name__ == "__main__":
    main()
