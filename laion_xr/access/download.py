"""Download of the public data: a plan first, then the files, several at once, each whole or not at all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Integral
from typing import Any

from laion_xr.access.bucket import BUCKET
from laion_xr.access.configuration import folder_of
from laion_xr.access.download_plan import DownloadPlan
from laion_xr.access.fetching import JOBS, MOST_JOBS, DownloadResult, run_plan
from laion_xr.access.licence import accept_license
from laion_xr.access.plan import make_plan
from laion_xr.access.selection import Names, Selection, StimulusSelection, texts
from laion_xr.errors import IncompleteDataWarning, SelectionError, describe_names
from laion_xr.location import Location
from laion_xr.progress import byte_bar
from laion_xr.quantities import count_text


def download(
    root: str | os.PathLike[str] | None = None,
    subject: Names = None,
    *,
    session: Names = None,
    include: Names = None,
    desc: Names = None,
    stat: Names = None,
    space: Names = None,
    suffix: Names = None,
    anatomical: bool = False,
    surfaces: bool = False,
    stimuli: bool | None = None,
    embeddings: bool | Names = False,
    segmentations: bool = False,
    captions: bool = False,
    dry_run: bool = False,
    n_jobs: int = JOBS,
    progress: bool = True,
    check: bool = False,
    checksums: bool = True,
    accept_licenses: bool = False,
    source: object = BUCKET,
    storage_options: Mapping[str, Any] | None = None,
    count: Callable[[int], object] | None = None,
    planned: Callable[[int], object] | None = None,
) -> DownloadPlan | DownloadResult:
    """Download what is asked for into a folder, in the published layout; what is there already is left.

    Of a subject comes what a Dataset is made of: betas (`.nii.gz`), trial tables, maps, ROIs, the brain mask and the
    sidecars, and with it the stimulus table: some 35 GB. Not the GLMsingle models (`include="model"`: the same betas
    once more), diagnostic figures, anatomy or surfaces. Stimulus images are gated: `laion_xr.download_stimuli`.

    Parameters
    ----------
    root
        Folder; the configured one where it is left out.
    subject
        `"sub-03"`, `"03"` or `3`, a list of them, or `"all"`. May be left out where only stimulus files are wanted.
    session
        `"ses-01"`, `"01"` or `1`, or a list; the maps, ROIs and masks of the subject as a whole come too, as a session
        alone does not open with them. `"averages"` alone is only these.
    include
        Kinds of files: `"betas"`, `"trials"`, `"maps"` (or one of `"noise_ceiling"`, `"r2"`, `"hrf_index"`,
        `"frac_ridge"`, `"subject_maps"`), `"rois"`, `"summary"`, `"model"`, `"figures"`, `"other"`, `"default"`,
        `"all"`, or patterns of paths (`"*_trials.tsv"`).
    desc, stat, space, suffix
        Values of entities in the files' names (BIDS), with or without `desc-` before them, and the last part of the
        name. A file without the entity passes.
    anatomical, surfaces
        T1w, T2w and the masks; the FreeSurfer reconstruction.
    stimuli
        The stimulus table; with a subject it comes unless False.
    embeddings
        True: of all models; or names of models.
    segmentations, captions
        The annotations of the images.
    dry_run
        Return the plan, and fetch nothing.
    n_jobs
        Files at once.
    progress
        Show a bar, where the output is a terminal or a notebook.
    check
        Read every file, those that are here too: its checksum, and the checksum inside `.gz`; with a mirror in a
        folder, its bytes. Else a file that is here is right when its size is.
    checksums
        False: do not compare with the ETags, which are no checksums in a bucket that is encrypted with keys of its own.
    accept_licenses
        The CC0 notice of the data has been read and is accepted; else it is shown once, where there is a terminal.
    source, storage_options
        A mirror (None: the bucket), and options of its file system.
    count
        Called with the numbers of bytes that come, instead of the bar.
    planned
        Called with the bytes in all, when the first is about to come.

    Returns
    -------
    What was done; with `dry_run` the plan. Both have a `repr` to look at.

    Raises
    ------
    NoSpaceError
        There is not enough room; before anything is fetched, with both numbers.
    SubjectNotFoundError, SelectionError
        There is no such subject; the arguments mean nothing, or no file answers to them, or to one of several names.
    LicenseNotAcceptedError
        The notice was declined, or there was nobody to ask.
    FileAccessError
        All that was asked for is held out, or the folder takes no files.
    UnreachableError, CorruptFileError
        The network failed to the end, or files came with wrong checksums. What is complete is kept: run it again.

    Examples
    --------
    >>> import laion_xr
    >>> laion_xr.download("my-data", "sub-03", session=[1, 2], dry_run=True)  # doctest: +SKIP
    """
    jobs = _jobs(n_jobs)
    place = folder_of(root)
    wanted = _stimuli(subject, stimuli, embeddings, segmentations, captions)
    selection = Selection.of(session, include, desc, stat, space, suffix, anatomical, surfaces)
    location = Location.of(_source(source), storage_options)
    plan = make_plan(location, place, subject, selection, wanted, recheck=check)
    if dry_run:
        return plan
    plan.require_room()
    accept_license(place, accept_licenses=accept_licenses)
    total = sum(file.size for file in plan.files)
    if planned is not None:
        planned(total)
    with byte_bar(total, progress and count is None, "download") as bar:
        result = run_plan(plan, jobs, count or bar.update, check=check, checksums=checksums)
    _warn(result)
    return result


def download_embeddings(
    root: str | os.PathLike[str] | None = None, models: bool | Names = True, **options: Any
) -> DownloadPlan | DownloadResult:
    """Download the embeddings of all models, or of some; `options` as for `laion_xr.download`."""
    return _stimulus_files(root, {"embeddings": models}, options)


def download_segmentations(root: str | os.PathLike[str] | None = None, **options: Any) -> DownloadPlan | DownloadResult:
    """Download the segmentations of the shared images; `options` as for `laion_xr.download`."""
    return _stimulus_files(root, {"segmentations": True}, options)


def download_captions(root: str | os.PathLike[str] | None = None, **options: Any) -> DownloadPlan | DownloadResult:
    """Download the captions; `options` as for `laion_xr.download`."""
    return _stimulus_files(root, {"captions": True}, options)


def _stimuli(
    subject: object, stimuli: bool | None, embeddings: bool | Names, segmentations: bool, captions: bool
) -> StimulusSelection | None:
    models: tuple[str, ...] | None
    if embeddings is True:
        models = None
    else:
        models = () if embeddings is None or embeddings is False else texts("embeddings", embeddings) or ()
    some = models is None or bool(models) or segmentations or captions or bool(stimuli)
    if subject is None and not some:
        raise SelectionError(
            "Nothing was asked for: give subject='sub-03' (or several, or 'all'; about 35 GB each), or embeddings=True,"
            " segmentations=True, captions=True. dry_run=True says what would come."
        )
    return StimulusSelection(stimuli is not False, models, segmentations, captions) if some or stimuli is None else None


def _stimulus_files(
    root: str | os.PathLike[str] | None, wanted: dict[str, Any], options: dict[str, Any]
) -> DownloadPlan | DownloadResult:
    if twice := {"subject", *wanted} & options.keys():
        raise SelectionError(f"{describe_names(sorted(twice))}: not an argument here; laion_xr.download takes it.")
    call: Callable[..., DownloadPlan | DownloadResult] = partial(download, root, **wanted)
    return call(**options)


def _source(source: object) -> object:
    if source is None:
        return BUCKET
    if not str(source).strip():
        raise SelectionError(f"source={source!r} is empty: expected an address or a folder; leave it out for {BUCKET}.")
    return source


def _jobs(n_jobs: object) -> int:
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs < 1:
        raise SelectionError(
            f"n_jobs={n_jobs!r} is not understood: expected a number of files at once, 1 to {MOST_JOBS}."
        )
    return min(int(n_jobs), MOST_JOBS)


def _warn(result: DownloadResult) -> None:
    held = [f"{subject} {name}" for subject, names in result.plan.held_out.items() for name in names]
    if held:
        warnings.warn(
            f"Held out, and so skipped: {describe_names(held)}. {result.plan.source.url} lists these sessions and gives"
            " them to nobody yet (403); nothing is wrong here.",
            IncompleteDataWarning,
            stacklevel=3,
        )
    if result.refused:
        warnings.warn(
            f"{count_text(len(result.refused), 'file')} may not be read (403) and "
            f"{'was' if len(result.refused) == 1 else 'were'} skipped: "
            f"{describe_names(_named(result.refused), 3)}.",
            IncompleteDataWarning,
            stacklevel=3,
        )


def _named(paths: Iterable[str]) -> list[str]:
    return [path.rpartition("/")[2] for path in paths]
