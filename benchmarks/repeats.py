"""Z-scores by session and means of repeats from a store, beside plain NumPy on the matrix in memory.

    python benchmarks/repeats.py [--rounds 3] [--quick]

30 sessions of a smaller grid (31,320 trials x 44,399 voxels, 5.6 GB) are simulated and stored first. NumPy has
its matrix in memory before the clock starts, and needs about 20 GB. Pieces run in turn, each in a process of its own.
--quick: small data, one round; the numbers mean nothing, the pieces run.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from measure import in_turn, ratios, verdict
from store import simulate_sessions

import laion_xr

PREPARE = """
import numpy as np, pandas as pd, xarray as xr, laion_xr
ds = xr.open_dataset({root!r}, engine="laion_fmri", store={store!r}, source="store")
"""
STREAMED = """
result = ds.laion.zscore().laion.average_repeats().betas.compute().values
"""
# first-touched by reading: not timed, as the matrix "is in memory"
IN_MEMORY = (
    PREPARE
    + """
matrix, sessions, labels = ds.betas.values, ds.session.values, ds.stimulus.values
"""
)
# as people write it
NUMPY = """
z = np.empty_like(matrix)
for session in np.unique(sessions):
    rows = sessions == session
    z[rows] = (matrix[rows] - matrix[rows].mean(axis=0)) / matrix[rows].std(axis=0)
codes, names = pd.factorize(labels, sort=True)
result = np.stack([z[codes == code].mean(axis=0) for code in range(len(names))])
"""
NOTE = """
# of voxels without a NaN: plain NumPy loses a session of the others
complete = np.isfinite(ds.betas.isel(voxel=slice(0, 500)).values).all(axis=0)
total = float(np.abs(result[:, :500][:, complete]).sum(dtype="f8"))
note = {"shape": list(ds.betas.shape), "result": list(result.shape), "sum": total}
"""


def main() -> int:
    """Measure and print; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        root, store = Path(scratch) / "many", str(Path(scratch) / "many.zarr")
        simulate_sessions(root, 4 if options.quick else 30, 30 if options.quick else 60)
        laion_xr.ingest(root, store, progress=False)
        places = {"root": str(root), "store": store}
        found = in_turn(
            {
                "from the store": (PREPARE.format(**places), STREAMED, NOTE),
                "NumPy, matrix in memory": (IN_MEMORY.format(**places), NUMPY, NOTE),
            },
            1 if options.quick else options.rounds,
        )
    ours, plain = found["from the store"], found["NumPy, matrix in memory"]
    print(f"{ours[0].note['shape']} trials x voxels -> {ours[0].note['result']}")
    middle, low, high = ratios(ours, plain)
    ok = verdict("from the store, over NumPy in memory", middle, 1.5, False, (low, high))
    memory = max(r.peak for r in ours) / max(r.peak for r in plain)
    ok &= verdict("its memory, over NumPy's", memory, 0.1, False)
    error = abs(ours[0].note["sum"] / plain[0].note["sum"] - 1)
    ok &= verdict("difference of the sums", error, 1e-4, False)
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
