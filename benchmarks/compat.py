"""The drop-in layer beside the published idioms: nibabel and the whole array, and a gzip stream volume by volume.

    python benchmarks/compat.py [ROOT] [--subject sub-01] [--session ses-01] [--roi laionventral] [--rounds 3]
                                [--no-idiom] [--no-store] [--table]

Without ROOT a small dataset is simulated: the numbers then say that it runs, and nothing about real sessions. At full
size (143^3 x 1044) the idiom of the whole array needs 14 GB of memory (--no-idiom leaves it out), and the store 1.1 GB
of disk in the temporary folder. Each piece runs in a process of its own; imports are not timed, opening is. Reads are
warm: the file is in the system's cache after the first round.
--table prints the table of docs/how-to/migrate.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from measure import Run, in_turn, ratios

import laion_xr
from laion_xr.catalog import Catalog

# What the published loader's documentation says of itself: the whole array, then a mask a volume (streaming=False)
WHOLE = """
voxels = np.asarray(nib.load(mask_path).dataobj).ravel().astype(bool)
voxels[voxels] = {filter}
image = nib.load(path, keep_file_open=True)
data = np.empty(image.shape, "f4", order="F")  # read in one go, nibabel and gzip hold it twice
for t in range(image.shape[3]):
    data[..., t] = image.dataobj[..., t]
result = np.stack([data[..., t].ravel()[voxels] for t in range(image.shape[3])])
note = list(result.shape)
"""
# ... and one volume in memory at a time, by the standard library's gzip (streaming=True)
STREAM = """
voxels = np.asarray(nib.load(mask_path).dataobj).ravel().astype(bool)
voxels[voxels] = {filter}
image = nib.load(path)
rows = []
with gzip.open(path) as file:
    file.read(int(image.dataobj.offset))
    for _ in range(image.shape[3]):
        volume = np.frombuffer(file.read(int(np.prod(image.shape[:3])) * 4), "<f4").reshape(image.shape[:3], order="F")
        rows.append(volume.ravel()[voxels])
result = np.stack(rows)
note = list(result.shape)
"""
ROI_FILTER = "(np.asarray(nib.load(roi_path).dataobj) != 0).ravel()[voxels]"
IMPORTS = """
import xarray as xr
from laion_xr.compat.subject import Subject
"""
COMPAT = """
sub = Subject({subject!r}, {root!r})
result = sub.get_betas(session={session!r}, roi={roi!r})
note = list(result.shape)
"""
AGAIN = """
result = sub.get_betas(session={session!r}, roi={roi!r})
note = list(result.shape)
"""
XARRAY = """
ds = xr.open_dataset({root!r}, engine="laion_fmri", subject={subject!r})
result = ds.sel(session={session!r}{roi}).betas.values
note = list(result.shape)
"""


def main() -> int:
    """Measure and print; return 1 where the shapes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?")
    parser.add_argument("--subject")
    parser.add_argument("--session")
    parser.add_argument("--roi", default="laionventral")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-idiom", action="store_true")
    parser.add_argument("--no-store", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(options.root).absolute() if options.root else Path(scratch) / "small"
        if not options.root:
            laion_xr.simulate(root, [1], 1, surfaces=False, models=False, stimuli=False)
        return measure(root, Path(scratch), options)


def measure(root: Path, scratch: Path, options: argparse.Namespace) -> int:
    """Run every comparison."""
    found = Catalog.scan(root)
    catalog = found.subject(options.subject or found.subjects[0])
    files = catalog.session(options.session or catalog.session_names[0])
    roi = next(entry for (_, name), entry in catalog.rois.items() if name == options.roi)
    path, mask = root / files.files["betas"].path, root / catalog.maps["brain_mask"].path
    print(f"{path.stat().st_size / 1e9:.3f} GB {path.name}, {options.roi}")
    prepare = "import gzip, nibabel as nib, numpy as np\n"
    prepare += f"path, mask_path, roi_path = {str(path)!r}, {str(mask)!r}, {str(root / roi.path)!r}"
    ours = {"root": str(root), "subject": catalog.subject, "session": files.session}
    stored = ""
    if not options.no_store:
        laion_xr.ingest(root, scratch / "store", subjects=[catalog.subject], sessions=[files.session], progress=False)
        stored = f"import os; os.environ['LAION_XR_STORE'] = {str(scratch / 'store')!r}\n"
    same = True
    for what, name in (("whole brain", None), (f"ROI {options.roi}", options.roi)):
        filtered = "True" if name is None else ROI_FILTER
        pieces: dict[str, tuple[str, ...]] = {}
        if not options.no_idiom:
            pieces["published idiom, streaming=False"] = prepare, WHOLE.format(filter=filtered)
        pieces["published idiom, streaming=True"] = prepare, STREAM.format(filter=filtered)
        compat = COMPAT.format(**ours, roi=name)
        pieces["laion_xr.compat"] = IMPORTS, compat
        pieces["laion_xr.compat, called again"] = IMPORTS + compat, AGAIN.format(**ours, roi=name)
        selected = "" if name is None else f", roi={name!r}"
        pieces["xarray: ds.sel(...).betas.values"] = IMPORTS, XARRAY.format(**ours, roi=selected)
        if stored:
            pieces["laion_xr.compat, store"] = stored + IMPORTS, compat
            pieces["laion_xr.compat, store, called again"] = stored + IMPORTS + compat, AGAIN.format(**ours, roi=name)
        print(what)
        runs = in_turn(pieces, options.rounds)
        same &= len({tuple(run.note) for each in runs.values() for run in each}) == 1
        report(what, runs, options.table)
    return 0 if same else 1


def report(what: str, runs: dict[str, list[Run]], table: bool) -> None:
    """Print how the pieces compare with the first one; as rows of the table of the docs where asked."""
    first = next(iter(runs.values()))
    shape = " x ".join(f"{n:,}" for n in first[0].note)
    for name, each in runs.items():
        middle, low, high = ratios(first, each)
        seconds = sorted(run.seconds for run in each)[len(each) // 2]
        peak = max(run.peak for run in each) / 1e6
        if table:
            print(f"| {what} ({shape}) | {name} | {seconds:.2f} s | {peak:,.0f} MB | {middle:.1f}x |")
        else:
            print(f"     {name:40} {seconds:8.2f} s {peak:8,.0f} MB  {middle:6.1f}x ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    raise SystemExit(main())
