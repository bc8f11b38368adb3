"""The sections of a report, in their order: each makes its blocks from a `Source`, and says why where it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from laion_xr.errors import LaionXRError, SelectionError, did_you_mean
from laion_xr.report import brain, files, trials
from laion_xr.report.page import Block, Code, Note, Section
from laion_xr.report.subject import Source

Maker = Callable[[Source], Iterable[Block]]


def opening(source: Source) -> Iterator[Block]:
    """Return how the subject is opened in Python."""
    yield Code("code-open", _opening_code(source))
    yield Note(
        "root is the folder that holds derivatives/, as seen from where Python runs. No import of laion_xr is needed: "
        "pip install laion-xr."
    )


# id -> name in the navigation, title, introduction, what makes its parts, each by itself
_ALL: dict[str, tuple[str, str, str, tuple[Maker, ...]]] = {
    "overview": ("Overview", "Overview", "", (files.tiles, files.problems)),
    "sessions": (
        "Sessions",
        "Sessions",
        "Every session with a file here. Medians are over the voxels of the mask, from the session's own maps; "
        "OOD images are among the shared ones.",
        (trials.sessions_table, trials.quality),
    ),
    "trials": (
        "Trials",
        "Trials and images",
        "What was shown, and how often. Shared images were shown to all subjects, unique ones to this subject only.",
        (trials.kinds_by_session, trials.repeats, trials.collections),
    ),
    "ceiling": (
        "Noise ceiling",
        "Noise ceiling",
        "The share of a voxel's variance, in percent, that a model could explain at best.",
        (brain.ceiling_histogram, brain.ceiling_bars, brain.ceiling_slices),
    ),
    "r2": (
        "R²",
        "Variance explained",
        "R² of the GLM, the mean over sessions.",
        (brain.r2_histogram, brain.r2_slices),
    ),
    "rois": (
        "ROIs",
        "Regions of interest",
        "Voxels inside the mask. ROIs overlap: a voxel counts in every ROI that holds it.",
        (brain.roi_table, brain.roi_overlap),
    ),
    "betas": ("Betas", "Betas", "Single-trial responses.", (brain.betas_carpet,)),
    "stimuli": (
        "Stimuli",
        "Stimulus files",
        "What is here of the stimuli. The images themselves are given out under an agreement, and are never part of "
        "a report.",
        (files.stimulus_files,),
    ),
    "files": ("Files", "Files", "What is here of the published layout, and what is not.", (files.maps, files.missing)),
    "python": ("Python", "Open it in Python", "", (opening,)),
    "provenance": ("Provenance", "Where this comes from", "", (files.provenance,)),
}
SECTIONS = tuple(_ALL)


def chosen_sections(sections: str | Iterable[str] | None, betas: bool) -> list[str]:
    """Return ids of sections in the order of the page: all, or those that are named.

    Raises
    ------
    SelectionError
        A name that is none, or no name.
    """
    if sections is None:
        return [name for name in SECTIONS if name != "betas" or betas]
    names = [sections] if isinstance(sections, str) else list(sections)
    for name in names:
        if name not in SECTIONS:
            raise SelectionError(did_you_mean("Section", name, SECTIONS))
    if not names:
        raise SelectionError("sections=[] names no section: leave it out for all of them.")
    if "betas" in names and not betas:
        raise SelectionError("The section 'betas' reads the betas: ask for it with betas=True.")
    return [name for name in SECTIONS if name in names]


def make_section(name: str, source: Source) -> Section:
    """Return a section; a part that cannot be made is a sentence that says why."""
    short, title, intro, makers = _ALL[name]
    blocks: list[Block] = []
    for maker in makers:
        # parts that fail for the same reason say it once
        blocks += [
            b for b in _blocks(partial(maker, source), source, title) if not (isinstance(b, Note) and b in blocks)
        ]
    return Section(name, short, title, intro, blocks)


def _blocks(make: Callable[[], Iterable[Block]], source: Source, title: str) -> list[Block]:
    blocks: list[Block] = []
    try:
        # one by one: those before the one that fails stay
        for block in make():
            blocks.append(block)  # noqa: PERF402 - a comprehension would lose them
    except (LaionXRError, OSError) as error:
        blocks.append(Note(source.public(f"Not shown: {error}"), "problem"))
    except Exception as error:
        # a report with one part missing is worth more than none
        message = source.public(f"{type(error).__name__}: {error}")
        blocks.append(Note(f"A part of {title!r} could not be made ({message}). Please report this.", "problem"))
    return blocks


def _opening_code(source: Source) -> str:
    lines = [
        "import xarray as xr",
        "",
        f"root = {_quoted(source.root_name)}",
        f'ds = xr.open_dataset(root, engine="laion_fmri", subject={_quoted(source.name)}{_open_options(source)})',
        "ds.laion.info()",
    ]
    best = _best_roi(source)
    if best is not None:
        roi, threshold = best
        lines += [
            "",
            f"# the voxels of {roi} with a noise ceiling of {threshold} % or more, a mean response an image",
            f"chosen = ds.sel(roi={_quoted(roi)}, noise_ceiling=slice({threshold}, None))",
            'responses = chosen.betas.groupby("stimulus").mean().compute()',
        ]
    return "\n".join(lines)


def _open_options(source: Source) -> str:
    if source.ds is None:
        return ""
    options = {"mask_source": (source.ds.attrs.get("mask_source"), "anatomical")}
    options["noise_ceiling"] = (source.ceiling, "12rep")
    return "".join(
        f", {name}={_quoted(str(value))}" for name, (value, usual) in options.items() if value not in (None, usual)
    )


def _quoted(text: str) -> str:
    # JSON's spelling of a text is one of Python's, with the quotes that the other lines have
    return json.dumps(text)


def _best_roi(source: Source) -> tuple[str, int] | None:
    """Return the ROI with the highest median ceiling, and about half of its voxels' ceiling."""
    if source.ds is None or source.values("noise_ceiling") is None:
        return None
    rows = [row for row in brain.roi_rows(source) if row.voxels and np.isfinite(row.ceiling)]
    if not rows:
        return None
    best = max(rows, key=lambda row: row.ceiling)
    # a comment ends with its line, whatever a file is called
    return (best.roi, int(best.ceiling)) if best.roi.isprintable() else None
