"""`laion-xr demo`: simulate, open, fit, compare with the ceiling, draw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from laion_xr import layout
from laion_xr.access.configuration import cache_dir
from laion_xr.cli.demo_analysis import Encoding, encode
from laion_xr.cli.demo_data import SUBJECT, DemoData, demo_data
from laion_xr.cli.demo_picture import RoiScore, check_place, draw, save
from laion_xr.cli.screen import NONE, count_text, emit_json, line, paragraph, plain_table, print_table, stderr, stdout

PICTURE = "laion-xr-demo.png"
MODEL = "CLIP"
CEILING = "Allrep"  # the test is on all repeated images


def run(root: Path | None, output: Path | None, as_json: bool) -> None:
    """Run the demo, and print what it finds."""
    start = time.perf_counter()
    picture = (cache_dir() / PICTURE if output is None else output).expanduser().absolute()
    check_place(picture)
    with stderr().status("Simulating a small dataset, once ..."):
        data = demo_data(root)
    ds = xr.open_dataset(data.root, engine="laion_fmri", subject=SUBJECT, embeddings=[MODEL], noise_ceiling=CEILING)
    if not as_json:
        _show_dataset(ds, data)
    with stderr().status(f"Predicting responses from {MODEL} features ..."):
        found = encode(ds, MODEL)
        scores = roi_scores(ds, found)
    with stderr().status("Drawing ..."):
        anatomy = nib.Nifti1Image.from_filename(data.root / layout.anatomical_path(SUBJECT, "T1w"))
        title = f"Simulated {SUBJECT}: responses predicted from {MODEL} features of the image"
        save(draw([s for s in scores if s.voxels], ds.laion.to_nifti(found.accuracy), anatomy, title), picture)
    seconds = time.perf_counter() - start
    if as_json:
        emit_json(result(data, found, scores, picture, seconds))
        return
    _show_scores(scores)
    paragraph(" ".join(in_words(found, scores)))
    line(f"Picture: {picture}", "bold")
    line(f"{seconds:.1f} s in all. The dataset stays in {data.root}: laion-xr info {data.root}", "dim")


def roi_scores(ds: xr.Dataset, found: Encoding) -> list[RoiScore]:
    """Return a score an ROI, medians over its voxels; ROIs in the order of their categories."""
    scores = []
    for name, row in ds.laion.info().rois.iterrows():
        roi = str(name)
        accuracy, ceiling = found.accuracy.sel(roi=roi).values, found.ceiling.sel(roi=roi).values
        known = np.isfinite(accuracy) & np.isfinite(ceiling)
        numbers = (found.ceiling.noise_ceiling.sel(roi=roi).values, accuracy, ceiling)
        medians = [float(np.median(v[known])) if known.any() else float("nan") for v in numbers]
        scores.append(RoiScore(roi, str(row["category"]), int(known.sum()), *medians))
    return sorted(scores, key=lambda score: score.category)


def in_words(found: Encoding, scores: Sequence[RoiScore]) -> list[str]:
    """Return what the numbers say."""
    known = [s for s in scores if s.voxels]
    share = {s.roi: 100 * s.accuracy / s.ceiling for s in known}
    nearest, furthest = max(known, key=lambda s: share[s.roi]), min(known, key=lambda s: share[s.roi])
    return [
        f"Fitted on {count_text(found.n_train, 'image')} that only {SUBJECT} saw, tested on "
        f"{count_text(found.n_test, 'image')} that all subjects saw, repeats averaged.",
        f"In the median ROI the prediction reaches r = {np.median([s.accuracy for s in known]):.2f} of the "
        f"{np.median([s.ceiling for s in known]):.2f} that the noise allows: {np.median(list(share.values())):.0f} %, "
        f"from {share[furthest.roi]:.0f} % in {furthest.roi} to {share[nearest.roi]:.0f} % in {nearest.roi}.",
        "So near the ceiling because these data are simulated: responses follow the features that CLIP sees.",
    ]


def result(
    data: DemoData, found: Encoding, scores: Sequence[RoiScore], picture: Path, seconds: float
) -> dict[str, object]:
    """Return what `--json` prints."""
    known = [s for s in scores if s.voxels]
    return {
        "root": str(data.root),
        "simulated_now": data.new,
        "subject": SUBJECT,
        "model": MODEL,
        "train_images": found.n_train,
        "test_images": found.n_test,
        "accuracy": float(np.median([s.accuracy for s in known])),
        "ceiling": float(np.median([s.ceiling for s in known])),
        "rois": [score._asdict() for score in scores],
        "picture": str(picture),
        "seconds": round(seconds, 2),
    }


def _show_dataset(ds: xr.Dataset, data: DemoData) -> None:
    line(f"Simulated data, {'made now' if data.new else 'kept from an earlier run'}; nothing here was measured.", "dim")
    line(f'>>> root = "{data.root}"', "bold")
    line(
        f'>>> ds = xr.open_dataset(root, engine="laion_fmri", subject="{SUBJECT}", embeddings=["{MODEL}"], '
        f'noise_ceiling="{CEILING}")',
        "bold",
    )
    line(">>> ds", "bold")
    with xr.set_options(display_width=min(stdout().width, 100)):
        line(repr(ds))
    line("")


def _show_scores(scores: Sequence[RoiScore]) -> None:
    heads = (">voxels", ">ceiling\n(%)", ">ceiling\n(r)", ">accuracy\n(r)", ">share\n(%)")
    table = plain_table("ROIs: medians over voxels, the noise ceiling in percent and as r", "category", "ROI", *heads)
    last = ""
    for i, s in enumerate(scores):
        values = (
            f"{s.noise_ceiling:.1f}",
            f"{s.ceiling:.2f}",
            f"{s.accuracy:.2f}",
            f"{100 * s.accuracy / s.ceiling:.0f}",
        )
        table.add_row(
            "" if s.category == last else s.category,
            s.roi,
            count_text(s.voxels),
            *(values if s.voxels else [NONE] * len(values)),
            style=None if s.voxels else "dim",
            end_section=i + 1 == len(scores) or scores[i + 1].category != s.category,
        )
        last = s.category
    print_table(table)
