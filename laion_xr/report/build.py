"""The report as a file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]

from laion_xr._version import __version__
from laion_xr.errors import SelectionError
from laion_xr.report.page import Page, render
from laion_xr.report.sections import chosen_sections, make_section
from laion_xr.report.subject import source_of

_ENDINGS = (".html", ".htm")


def write_report(
    obj: Any,
    output: str | os.PathLike[str],
    *,
    subject: str | int | None = None,
    sections: str | Iterable[str] | None = None,
    betas: bool = False,
    store: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[str], object] = True,
) -> Path:
    """Write what there is of a subject as one HTML file, which opens without a network and without any other file.

    Sessions, trials, noise ceilings, variance explained, regions, files and what is missing of them, as tables that
    sort and pictures with a text for those who do not see them. It reads tables and maps; of the betas nothing, unless
    it is told to. Pictures of stimuli are never in it. A section that cannot be made says why.

    Parameters
    ----------
    obj
        A root (str, PathLike, UPath, fsspec URL), a subject's folder, None for the configured data folder; or a
        Dataset as `open_dataset` returns it, whose trials and voxels are then what is reported.
    output
        The file, `.html`; replaced where it is there. It appears when it is complete.
    subject
        `"sub-03"`, `"03"` or `3`; it may be left out where there is one.
    sections
        Some of `laion_xr.report.SECTIONS`; None for all (`"betas"` only with `betas=True`).
    betas
        Also draw the betas, which reads all of them: minutes from NIfTI files, seconds a session from a store.
    store
        A store made by `laion_xr.ingest`, as in `open_dataset`.
    storage_options
        Options of the fsspec file system of the root.
    progress
        True for a bar, where a terminal or notebook can show one; False for none; or a function that is called with
        the name of each section before it is made.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SelectionError
        The output is no `.html` file; a section has another name; an object that is neither root nor Dataset.
    NotALaionDatasetError, SubjectNotFoundError
        There is no such dataset or subject.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> laion_xr.write_report(root, "sub-03.html", subject="sub-03")  # doctest: +SKIP
    >>> laion_xr.write_report(ds.sel(roi="face"), "faces.html", sections=["ceiling", "rois"])  # doctest: +SKIP
    """
    path = _checked(Path(output).expanduser())
    names = chosen_sections(sections, betas)
    source = source_of(obj, subject, store, storage_options, betas)
    made = []
    # disable=None: tqdm itself looks for a terminal
    with tqdm(total=len(names), unit=" sections", desc="report", disable=None if progress is True else True) as bar:
        for name in names:
            if callable(progress):
                progress(name)
            made.append(make_section(name, source))
            bar.update()
    simulated = source.found is not None and source.found.simulated
    page = Page(
        title=f"{source.name} · LAION-fMRI",
        subtitle=source.root_name,
        simulated=simulated,
        sections=made,
        footer=f"Made by laion_xr {__version__}. This page loads nothing from anywhere.",
    )
    _write(path, render(page))
    return path


def _checked(path: Path) -> Path:
    if path.suffix.lower() not in _ENDINGS:
        raise SelectionError(f"A report is an .html file, found {path.name!r}.")
    if path.is_dir():
        raise SelectionError(f"Expected a file to write the report to, found the folder {path}.")
    if not path.parent.is_dir():
        raise SelectionError(f"The folder {path.parent} for the report does not exist: make it first.")
    return path


def _write(path: Path, text: str) -> None:
    # not tempfile: its files are for their owner only, and the permissions would stay
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        # a name on disk may hold bytes that are no text
        partial.write_text(text, "utf-8", errors="replace", newline="\n")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
