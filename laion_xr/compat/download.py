"""`download` and its siblings of the published loader, on the downloads of laion_xr.

The defaults are the published ones: everything of a subject, the GLMsingle models and figures among it. For what a
Dataset is made of and no more, take `laion_xr.download`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any

from laion_xr import layout
from laion_xr.access import configuration, gated, licence
from laion_xr.access import download as access
from laion_xr.access.agreement import granted
from laion_xr.access.fetching import run_plan
from laion_xr.access.selection import AVERAGES
from laion_xr.access.service import AccessService
from laion_xr.compat import discovery
from laion_xr.compat.raw_files import raw_plan
from laion_xr.compat.subject import resolve_subject_id
from laion_xr.errors import SelectionError

__all__ = [
    "accept_license",
    "accept_licenses",
    "download",
    "download_captions",
    "download_embeddings",
    "download_raw",
    "download_segmentations",
    "download_stimuli",
    "request_stimulus_access",
]

Names = str | int | Iterable[str | int] | None
Folder = str | os.PathLike[str] | None

_TASK = "images"


def download(
    subject: str,
    ses: Names = None,
    task: Names = None,
    space: Names = None,
    desc: Names = None,
    stat: Names = None,
    suffix: Names = None,
    extension: Names = None,
    include_stimuli: bool = False,
    include_embeddings: bool | Names = False,
    include_freesurfer: bool = False,
    include_anatomical: bool = False,
    n_jobs: int = 1,
    include_raw: bool = False,
) -> Any:
    """Download a subject into the configured data folder, narrowed by the entities of its files' names.

    Parameters
    ----------
    subject
        `"sub-03"`, `"03"` or `"all"`.
    ses
        Sessions; `"averages"` is the maps over sessions. With a session the maps, ROIs and the mask come too.
    task, space, desc, stat, suffix
        Values of entities, with or without their names; a file without the entity passes.
    extension
        Endings of files: `"nii.gz"`, `"tsv"`.
    include_stimuli
        The images too, which are gated: see `download_stimuli`.
    include_embeddings
        The embeddings of all models, or the names of some.
    include_freesurfer, include_anatomical
        The FreeSurfer reconstruction; T1w, T2w and the masks. The entities do not narrow them.
    n_jobs
        Files at once.
    include_raw
        The raw BIDS tree of the subject, or of the sessions: see `download_raw`. Hundreds of GB.

    Raises
    ------
    SubjectNotFoundError, LicenseNotAcceptedError, NoSpaceError, UnreachableError
        As `laion_xr.download`.
    """
    wanted = "all" if subject == "all" else resolve_subject_id(subject)
    tasks = _values(task)
    if tasks is not None and _TASK not in {name.removeprefix("task-") for name in tasks}:
        raise SelectionError(f"task={task!r}: the files of the derivatives are of task-{_TASK}.")
    endings = _values(extension)
    jobs = _jobs(n_jobs)
    # suffix="statmap" would leave every T1w and every surface out: they come apart then
    narrowed = any(value is not None for value in (space, desc, stat, suffix))
    done = access.download(
        None,
        wanted,
        session=_values(ses),
        include="all" if endings is None else [f"*.{ending.lstrip('.')}" for ending in endings],
        desc=_values(desc),
        stat=_values(stat),
        space=_values(space),
        suffix=_values(suffix),
        anatomical=include_anatomical and not narrowed,
        surfaces=include_freesurfer and not narrowed,
        embeddings=include_embeddings,
        n_jobs=jobs,
        source=discovery.bucket(),
    )
    if narrowed and (include_anatomical or include_freesurfer):
        access.download(
            None,
            wanted,
            include=f"{layout.ANATOMICAL_DIR}/*",
            anatomical=include_anatomical,
            surfaces=include_freesurfer,
            stimuli=False,
            n_jobs=jobs,
            source=discovery.bucket(),
        )
    sessions = [name for name in _values(ses) or () if name != AVERAGES] or None
    if include_raw and (ses is None or sessions):  # the averages have no raw files
        download_raw(wanted, ses=sessions, task=task, n_jobs=jobs)
    if include_stimuli:
        download_stimuli()
    return done


def download_raw(
    subject: str,
    ses: Names = None,
    task: Names = None,
    run: Names = None,
    echo: Names = None,
    part: Names = None,
    suffix: Names = None,
    extension: Names = None,
    n_jobs: int = 1,
) -> Any:
    """Download raw BIDS files of a subject: events, BOLD, single-band references, field maps. Hundreds of GB in all.

    Parameters
    ----------
    subject, ses, n_jobs
        As in `download`.
    task, run, echo, part, suffix, extension
        Values of entities, and endings; a file without the entity passes.

    Raises
    ------
    SelectionError
        No raw file answers to these filters.
    LicenseNotAcceptedError, NoSpaceError, UnreachableError
        As `laion_xr.download`.
    """
    entities = {"task": task, "run": run, "echo": echo, "part": part, "suffix": suffix}
    source = discovery.bucket()
    subjects = discovery.get_subjects() if subject == "all" else [resolve_subject_id(subject)]
    filters = {name: values for name, value in entities.items() if (values := _values(value)) is not None}
    plan = raw_plan(source, configuration.folder_of(None), subjects, _values(ses), filters, _values(extension))
    plan.require_room()
    licence.accept_license(plan.root)
    return run_plan(plan, _jobs(n_jobs))


def download_stimuli(data_dir: Folder = None, server_url: str | None = None) -> Any:
    """Download the stimulus images and their metadata, which are given under a Data Use Agreement.

    Raises
    ------
    LicenseNotAcceptedError, AccessServiceError
        As `laion_xr.download_stimuli`.
    """
    return gated.download_stimuli(data_dir, access_url=server_url)


def download_embeddings(models: Names = "all", data_dir: Folder = None, n_jobs: int = 1) -> Any:
    """Download the embeddings of all models, or of some."""
    named = _values(models)
    wanted = True if named is None or named == ["all"] else named
    return access.download_embeddings(data_dir, wanted, n_jobs=_jobs(n_jobs), source=discovery.bucket())


def download_segmentations(data_dir: Folder = None) -> Any:
    """Download the segmentation masks of the shared images, and their table."""
    return access.download_segmentations(data_dir, source=discovery.bucket())


def download_captions(data_dir: Folder = None) -> Any:
    """Download the captions."""
    return access.download_captions(data_dir, source=discovery.bucket())


def accept_license() -> None:
    """Have the CC0 notice of the data accepted at the terminal, once for a data folder.

    Raises
    ------
    LicenseNotAcceptedError
        It was declined, or there is nobody to ask.
    """
    licence.accept_license()


def accept_licenses(include_stimuli: bool = False) -> None:
    """Have the CC0 notice accepted, as `accept_license`.

    Parameters
    ----------
    include_stimuli
        The agreement on the images is asked for when they are requested: `request_stimulus_access`.
    """
    accept_license()
    if include_stimuli:
        warnings.warn(
            "The agreement on the stimulus images is not a local one: request_stimulus_access() or download_stimuli() "
            "ask for it.",
            UserWarning,
            stacklevel=2,
        )


def request_stimulus_access(server_url: str | None = None) -> None:
    """Request access to the images at the terminal; the request id is kept in a file that only you can read.

    Nothing is returned: what the service answers is secret.

    Raises
    ------
    LicenseNotAcceptedError, AccessServiceError
        As `laion_xr.download_stimuli`.
    """
    granted(AccessService(server_url or configuration.access_url()), {}, False)


def _values(given: Names) -> list[str] | None:
    return None if given is None else [str(given)] if isinstance(given, (str, int)) else [str(value) for value in given]


def _jobs(n_jobs: Any) -> int:
    # the published one says what it does not understand, and goes on
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
        warnings.warn(f"n_jobs={n_jobs!r} is not a number of files at once: 1 is taken.", UserWarning, stacklevel=3)
        return 1
    return n_jobs
