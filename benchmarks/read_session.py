"""Reading one full-size session (143^3 x 1044): laion_xr against the plain idiom, a gzip stream, and bare inflation.

    python benchmarks/read_session.py [ROOT] [--rounds 3]

Without ROOT a full-size session is simulated in a temporary folder (about a minute, 1.2 GB). Needs about 14 GB of
memory for the plain idiom (--no-idiom leaves it out).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from measure import in_turn, ratios, verdict

import laion_xr
from laion_xr.catalog import Catalog

OPEN = """
import dask, numpy as np, xarray as xr
ds = xr.open_dataset({root!r}, engine="laion_fmri", sessions={sessions!r})
betas = ds.betas{pick}
"""
# first touch of fresh memory is the system's price for any result of that size, whoever fills it
FILL = """
import numpy as np
"""
PLAIN = """
import gzip, nibabel as nib, numpy as np
path, mask_path = {path!r}, {mask!r}
mask = np.asanyarray(nib.load(mask_path).dataobj) != 0
"""
IDIOM = """
# volume by volume into the whole array: read in one go, nibabel and gzip hold it twice, 24.5 GB
image = nib.load(path, keep_file_open=True)
data = np.empty(image.shape, "f4", order="F")
for t in range(image.shape[3]):
    data[..., t] = image.dataobj[..., t]
result = data[mask].T
note = list(result.shape)
"""
STREAM = """
import itertools
picked = np.flatnonzero(mask.ravel())[100_000:104_000]
i, j, k = np.unravel_index(picked, mask.shape)
where = np.ravel_multi_index((i, j, k), mask.shape, order="F")
rows = []
with gzip.open(path) as file:
    file.read(int(nib.load(path).dataobj.offset))
    while len(volume := file.read(mask.size * 4)) == mask.size * 4:
        rows.append(np.frombuffer(volume, "<f4")[where])
result = np.stack(rows)
note = list(result.shape)
"""
INFLATE = """
from zlib_ng import gzip_ng
path = {path!r}
"""
INFLATE_BODY = """
with gzip_ng.open(path) as file:
    while file.read(1 << 20):
        pass
"""
FILL_BODY = """
result = np.empty((1044, {n_voxels}), "f4")
result.fill(0)
"""
COMPUTE = """
result = betas.data.compute(scheduler="threads", num_workers={workers})
note = list(result.shape)
"""


def two_sessions(root: Path, subject: str, session: str, into: Path) -> Path:
    """Make a root with the session twice, by links: what two sessions at once cost."""
    for path in root.rglob("*"):
        if path.is_file() and (f"{subject}" in str(path.relative_to(root))):
            relative = str(path.relative_to(root))
            names = [relative, relative.replace(session, "ses-02")] if session in relative else [relative]
            for name in names:
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path, target)
    return into


def main() -> int:
    """Measure and print; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-idiom", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(options.root) if options.root else Path(scratch) / "full"
        if not options.root:
            laion_xr.simulate(root, full_size=True)
        return measure(root, Path(scratch), options.rounds, not options.no_idiom)


def measure(root: Path, scratch: Path, rounds: int, with_idiom: bool) -> int:
    """Run every comparison."""
    catalog = Catalog.scan(root).subject()
    files = catalog.sessions_with_betas()[0]
    path = str(root / files.files["betas"].path)
    mask = str(root / catalog.maps["brain_mask"].path)
    subject, session = catalog.subject, files.session
    twice = str(two_sessions(root, subject, session, scratch / "twice"))
    print(f"{os.path.getsize(path) / 1e9:.2f} GB {os.path.basename(path)}, {os.cpu_count()} cores")

    plain = PLAIN.format(path=path, mask=mask)
    roi_pick = ".isel(voxel=slice(100_000, 104_000))"
    one = {"root": str(root), "sessions": [session]}
    both = {"root": twice, "sessions": [session, "ses-02"]}
    pieces = {
        "bare zlib-ng inflation": (INFLATE.format(path=path), INFLATE_BODY),
        "laion_xr, whole brain": (OPEN.format(**one, pick=""), COMPUTE.format(workers=2)),
        "laion_xr, 4,000 voxels": (OPEN.format(**one, pick=roi_pick), COMPUTE.format(workers=2)),
        "laion_xr, 4,000 voxels, 2 sessions": (OPEN.format(**both, pick=roi_pick), COMPUTE.format(workers=2)),
        "laion_xr, whole brain, 2 sessions": (OPEN.format(**both, pick=""), COMPUTE.format(workers=2)),
    }
    found = in_turn(pieces, rounds)
    n_voxels = found["laion_xr, whole brain"][0].note[1]
    fill = in_turn({"filling a result of that size": (FILL, FILL_BODY.format(n_voxels=n_voxels))}, rounds)
    found |= fill
    found |= in_turn({"gzip stream (standard library), 4,000 voxels": (plain, STREAM)}, min(rounds, 2))
    if with_idiom:
        found |= in_turn({"plain idiom (nibabel, whole array, mask)": (plain, IDIOM)}, min(rounds, 2))

    inflate = found["bare zlib-ng inflation"]
    whole, roi = found["laion_xr, whole brain"], found["laion_xr, 4,000 voxels"]
    ok = True
    result_bytes = 4 * whole[0].note[0] * n_voxels
    if with_idiom:
        idiom = found["plain idiom (nibabel, whole array, mask)"]
        middle, *spread = ratios(idiom, whole)
        ok &= verdict("whole brain, times faster than the idiom", middle, 6, True, tuple(spread))
        print(f"     peak of the idiom {max(r.peak for r in idiom) / 1e9:.1f} GB")
    stream = found["gzip stream (standard library), 4,000 voxels"]
    middle, *spread = ratios(stream, roi)
    ok &= verdict("4,000 voxels, times faster than the stream", middle, 3.5, True, tuple(spread))
    extra = (max(r.peak for r in whole) - result_bytes) / 1e6
    ok &= verdict("whole brain, peak memory above the result, MB", extra, 300, False)
    ok &= verdict("4,000 voxels, peak memory, MB", max(r.peak for r in roi) / 1e6, 250, False)
    middle, *spread = ratios(roi, inflate)
    ok &= verdict("4,000 voxels, over bare inflation", middle, 1.25, False, tuple(spread))
    middle, *spread = ratios(whole, inflate)
    ok &= verdict("whole brain, over bare inflation", middle, 1.25, False, tuple(spread))
    print(
        f"     of which filling fresh memory of the result's size takes "
        f"{min(r.seconds for r in fill['filling a result of that size']):.2f} to "
        f"{max(r.seconds for r in fill['filling a result of that size']):.2f} s here"
    )
    for name in ("4,000 voxels", "whole brain"):
        middle, low, high = ratios(found[f"laion_xr, {name}"], found[f"laion_xr, {name}, 2 sessions"])
        ok &= verdict(f"{name}, rate of two sessions at once over one", 2 * middle, 1.7, True, (2 * low, 2 * high))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
