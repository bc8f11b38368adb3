"""`laion-xr info`: what is there under a root, as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import typer

from laion_xr import layout
from laion_xr.access.configuration import data_dir
from laion_xr.backend import locate
from laion_xr.cli.screen import NONE, count_text, emit_json, line, plain_table, print_table, size_text, stderr
from laion_xr.errors import SelectionError
from laion_xr.inventory import FileReport, RoiReport, RootReport, SubjectReport, root_report

TITLES = {
    "brain_mask": "brain mask",
    "r2_mean": "R2, mean",
    "noise_ceiling_12rep": "noise ceiling, 12 repeats",
    "noise_ceiling_4rep": "noise ceiling, 4 repeats",
    "noise_ceiling_Allrep": "noise ceiling, all repeats",
    "metadata": "metadata",
    "images": "images (under agreement)",
    "segmentations": "segmentations",
    "segmentations_metadata": "segmentations, table",
    "captions": "captions",
}


def run(root: str | None, subject: str | None, storage_options: Sequence[str], as_json: bool) -> None:
    """Look at a root, and print what is there."""
    location, implied = locate(data_dir() if root is None else root, options(storage_options))
    if subject and implied and layout.subject_name(subject) != implied:
        raise SelectionError(f"{root} is a subject, and {subject!r} another one: give one of the two.")
    chosen = subject or implied
    with stderr().status("Looking ..."):
        report = root_report(location, chosen, rois=as_json or chosen is not None)
        if chosen is None and len(report.subjects) == 1 and not as_json:
            report = root_report(location, report.subjects[0].subject)
    if as_json:
        emit_json(asdict(report))
    else:
        show(report, detail=chosen is not None or len(report.subjects) == 1)


def options(given: Sequence[str]) -> dict[str, Any]:
    """Return storage options of `KEY=VALUE` texts; a value may be JSON (`true`, `3`, `{"a": 1}`).

    Raises
    ------
    typer.BadParameter
        A text without `=`.
    """
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(
                f"expected KEY=VALUE, such as anon=true, found {text!r}.", param_hint="--storage-option"
            )
        try:
            # Python's spelling of true and false too
            found[key] = json.loads({"True": "true", "False": "false", "None": "null"}.get(value, value))
        except ValueError:
            found[key] = value
    return found


def show(report: RootReport, detail: bool) -> None:
    """Print a report: a row a subject, or one subject closely."""
    kind = "simulated data in the layout of LAION-fMRI" if report.simulated else "LAION-fMRI"
    line(f"{report.root}: {kind}", "bold")
    for subject in report.subjects if detail else ():
        _show_subject(subject)
    if not detail and report.subjects:
        _show_subjects(report.subjects)
    _show_files("Stimuli", report.stimuli.files, count_text(report.stimuli.images, "image"))
    for problem in [p for s in report.subjects for p in s.problems] + report.problems:
        line(f"Problem: {problem}", "red")
    if not detail and report.subjects:
        line(f"Closer: laion-xr info {report.root} {report.subjects[0].subject}", "dim")


def _show_subjects(subjects: Sequence[SubjectReport]) -> None:
    table = plain_table(
        "Subjects", "subject", ">sessions", ">with betas", ">trials", ">voxels", ">ROIs", ">missing", ">size"
    )
    for s in subjects:
        with_betas = sum(not {"betas", "model"}.isdisjoint(session.present) for session in s.sessions)
        table.add_row(
            s.subject,
            count_text(len(s.sessions)),
            count_text(with_betas),
            count_text(s.trials),
            count_text(s.voxels),
            count_text(len(s.rois)),
            count_text(len(s.missing)),
            size_text(s.size),
        )
    print_table(table, spare=["ROIs", "with betas", "missing"])


def _show_subject(subject: SubjectReport) -> None:
    parts = [
        count_text(len(subject.sessions), "session"),
        count_text(subject.trials, "trial"),
        count_text(subject.voxels, "voxel"),
    ]
    known = [part for part in parts if part != NONE]
    if subject.voxels is not None and subject.mask_source == "rsquare":
        known[-1] += " (of the R2 map)"
    grid = f", grid {' x '.join(map(str, subject.grid))}" if subject.grid else ""
    line(f"{subject.subject}: {', '.join(known)}{grid}, {size_text(subject.size)}")
    _show_sessions(subject)
    _show_files("Maps", subject.maps)
    if subject.rois:
        _show_rois(subject)
    else:
        line(f"ROIs: none here ({layout.roi_dir(subject.subject)})", "yellow")


def _show_sessions(subject: SubjectReport) -> None:
    table = plain_table("Sessions", "session", ">trials", ">runs", ">images", ">shared trials", ">size", "missing")
    rows = {
        s.session: (
            count_text(s.trials),
            count_text(s.runs),
            count_text(s.stimuli),
            count_text(s.shared_trials),
            size_text(s.size),
            ", ".join(kind.replace("_", " ") for kind in s.missing) or NONE,
        )
        for s in subject.sessions
    }
    rows |= dict.fromkeys(subject.absent_sessions, (NONE, NONE, NONE, NONE, NONE, "everything"))
    for name in sorted(rows, key=lambda n: (len(n), n)):
        lacks_betas = rows[name][-1] == "everything" or "betas" in rows[name][-1]
        table.add_row(name, *rows[name], style="yellow" if lacks_betas else None)
    print_table(table, prose=["missing"], spare=["runs", "images", "shared trials"])


def _show_files(title: str, files: Sequence[FileReport], note: str = NONE) -> None:
    table = plain_table(title + (f": {note}" if note != NONE else ""), "file", ">size")
    for file in files:
        name = TITLES.get(file.kind) or f"embeddings, {file.kind.removeprefix('embedding_')}"
        size = "missing" if file.size is None else size_text(file.size)
        table.add_row(name, size, style="yellow" if file.size is None else None)
    print_table(table)


def _show_rois(subject: SubjectReport) -> None:
    ceiling = f">noise ceiling, {subject.noise_ceiling} (%)" if subject.noise_ceiling else ">noise ceiling (%)"
    table = plain_table("ROIs: voxels in the mask, median noise ceiling", "category", "ROI", ">voxels", ceiling)
    by_category: dict[str, list[RoiReport]] = {}
    for roi in subject.rois:
        by_category.setdefault(roi.category, []).append(roi)
    for category, rois in by_category.items():
        for i, roi in enumerate(rois):
            median = NONE if roi.noise_ceiling is None else f"{roi.noise_ceiling:.1f}"
            table.add_row(
                category if i == 0 else "",
                roi.roi,
                count_text(roi.voxels),
                median,
                style=None if roi.voxels else "dim",
                end_section=i == len(rois) - 1,
            )
    print_table(table)
