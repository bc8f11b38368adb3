"""A root -> a frozen, picklable list of what is there.

A few listing calls, never one a file; contents are read elsewhere. Missing pieces are recorded, not fatal.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from numbers import Integral
from types import MappingProxyType

from laion_xr import layout
from laion_xr.errors import (
    DataNotDownloadedError,
    NotALaionDatasetError,
    SelectionError,
    SubjectNotFoundError,
    describe_names,
    did_you_mean,
    unknown_label,
)
from laion_xr.listing import fingerprint
from laion_xr.location import FileEntry, Location


@dataclass(frozen=True)
class SessionFiles:
    """The files of a session that were found: kind (`layout.SESSION_MAPS`, `SESSION_FILES`) -> entry."""

    session: str
    files: Mapping[str, FileEntry]

    def __reduce__(self) -> tuple[object, ...]:
        return SessionFiles, (self.session, dict(self.files))

    @property
    def has_betas(self) -> bool:
        """Whether betas can be read, from the NIfTI file or from the model file."""
        return "betas" in self.files or "model" in self.files

    @property
    def missing(self) -> list[str]:
        """Kinds of files that a session has in the published layout and that are not here."""
        return [kind for kind in (*layout.SESSION_MAPS, *layout.SESSION_FILES) if kind not in self.files]


@dataclass(frozen=True)
class SubjectCatalog:
    """What is there of one subject.

    Attributes
    ----------
    sessions
        Sessions that have at least one file, in numerical order.
    maps
        Subject maps (`layout.SUBJECT_MAPS`) and `"brain_mask"`.
    rois
        ROI volumes: (category, ROI) -> entry.
    roi_surfaces
        ROI files on the surface: (category, ROI, hemisphere, form) -> entry.
    missing
        Relative paths, or folders, of what the published layout has and this root has not.
    """

    location: Location
    subject: str
    sessions: tuple[SessionFiles, ...]
    maps: Mapping[str, FileEntry] = field(default_factory=dict)
    rois: Mapping[tuple[str, str], FileEntry] = field(default_factory=dict)
    roi_surfaces: Mapping[tuple[str, str, str, str], FileEntry] = field(default_factory=dict)
    anatomy: tuple[FileEntry, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def session_names(self) -> tuple[str, ...]:
        """Names of the sessions that were found."""
        return tuple(s.session for s in self.sessions)

    def session(self, name: str | int) -> SessionFiles:
        """Return a session's files.

        Raises
        ------
        UnknownLabelError
            Nothing of this session was found.
        """
        wanted = layout.session_name(name)
        for files in self.sessions:
            if files.session == wanted:
                return files
        raise unknown_label(f"Session of {self.subject}", name, self.session_names)

    def sessions_with_betas(
        self, names: Iterable[str | int] | str | int | None = None, stored: Container[str] = ()
    ) -> tuple[SessionFiles, ...]:
        """Return the sessions whose betas can be read: all of them, or the named ones in numerical order.

        Those of `stored` can be read from a store, whether or not their own files are there.

        Raises
        ------
        UnknownLabelError
            A named session of which nothing was found.
        DataNotDownloadedError
            A named session without betas, or no session with betas at all.
        SelectionError
            An empty list of names.
        """
        readable = [s for s in self.sessions if s.has_betas or s.session in stored]
        if names is None:
            if not (found := tuple(readable)):
                where = self.location.show(layout.subject_dir(self.subject))
                betas = layout.session_path(self.subject, "ses-01", "betas").rpartition("/")[2]
                raise DataNotDownloadedError(
                    f"No session of {self.subject} has betas in {where}: expected files such as {betas}; download "
                    f"them first with 'laion-xr download ROOT --subject {self.subject}'."
                )
            return found
        if isinstance(names, (str, Integral)):
            names = [str(names)]
        wanted = {self.session(n).session for n in names} if isinstance(names, Iterable) else set()
        if not wanted:
            raise SelectionError(
                f"sessions={names!r} names no session: leave it out for all of {self.subject}, or choose of "
                f"{describe_names(s.session for s in readable)}."
            )
        chosen = tuple(s for s in self.sessions if s.session in wanted)
        for files in chosen:
            if files not in readable:
                path = self.location.show(layout.session_path(self.subject, files.session, "betas"))
                raise DataNotDownloadedError(
                    f"The betas of {self.subject} {files.session} are not there: expected {path}; download them, or "
                    f"leave the session out (sessions with betas: "
                    f"{describe_names(s.session for s in readable)})."
                )
        return chosen

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """ROI category -> names of its ROIs."""
        found: dict[str, list[str]] = {}
        for category, roi in self.rois:
            found.setdefault(category, []).append(roi)
        return {category: tuple(sorted(names, key=lambda n: (n.lower(), n))) for category, names in found.items()}

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file of the subject that was found, in the order of their paths."""
        found = [entry for s in self.sessions for entry in s.files.values()]
        found += [*self.maps.values(), *self.rois.values(), *self.roi_surfaces.values(), *self.anatomy]
        return tuple(sorted(set(found)))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over the paths, sizes and times of the subject's files."""
        return fingerprint(self.files)


@dataclass(frozen=True)
class Catalog:
    """What is there under a root: the subjects, and the stimulus files by path."""

    location: Location
    subjects: tuple[str, ...]

    @classmethod
    def scan(cls, root: object, storage_options: Mapping[str, object] | None = None) -> Catalog:
        """List a root's subjects: one listing call.

        Parameters
        ----------
        root
            Folder or address that holds `derivatives/glmsingle-tedana`: str, PathLike, UPath, fsspec URL, `Location`.

        Raises
        ------
        NotALaionDatasetError
            There is no subject's folder there.
        """
        location = root if isinstance(root, Location) else Location.of(root, storage_options)
        subjects = tuple(n for n in location.folders(layout.BETAS_DIR) if layout.is_subject(n))
        if not subjects:
            found = "none" if location.exists() else "that there is nothing of this name at all"
            raise NotALaionDatasetError(
                f"{location.url} does not hold the LAION-fMRI dataset: expected subjects' folders in "
                f"{layout.BETAS_DIR} (such as {layout.subject_dir('sub-01')}), found {found}; check the root, or "
                "download the data."
            )
        return cls(location, subjects)

    def subject_name(self, subject: str | int | None) -> str:
        """Return the canonical name of a subject; the only one where None is asked for.

        Raises
        ------
        SubjectNotFoundError
            It is not here, or None was given and there are several.
        """
        if subject is None:
            if len(self.subjects) > 1:
                raise SubjectNotFoundError(
                    f"{self.location.url} holds {len(self.subjects)} subjects: choose one with "
                    f"subject=..., of {', '.join(self.subjects)}."
                )
            return self.subjects[0]
        name = layout.subject_name(subject)
        if name not in self.subjects:
            raise SubjectNotFoundError(did_you_mean("Subject", name, self.subjects))
        return name

    def subject(self, subject: str | int | None = None) -> SubjectCatalog:
        """List what is there of one subject: three listing calls."""
        return scan_subject(self.location, self.subject_name(subject))

    def stimuli(self) -> Mapping[str, FileEntry]:
        """List the stimulus files: relative path -> entry; one listing call."""
        return stimulus_files(self.location)


def stimulus_files(location: Location) -> Mapping[str, FileEntry]:
    """List the stimulus files under a root: relative path -> entry; one listing call."""
    return MappingProxyType({entry.path: entry for entry in location.files(layout.STIMULI_DIR)})


def scan_subject(location: Location, subject: str) -> SubjectCatalog:
    """List what is there of one subject."""
    folders = (layout.subject_dir(subject), layout.roi_dir(subject), layout.anatomical_dir(subject))
    betas_files, roi_files, anatomy = _listings(location, folders)
    listed = {e.path: e for e in betas_files}
    sessions = _sessions(subject, listed)
    maps = {k: e for k in layout.SUBJECT_MAPS if (e := _nifti(listed, layout.subject_path(subject, k, "")))}
    mask = _nifti({e.path: e for e in anatomy}, layout.brain_mask_path(subject, ""))
    if mask:
        maps["brain_mask"] = mask
    rois: dict[tuple[str, str], FileEntry] = {}
    surfaces: dict[tuple[str, str, str, str], FileEntry] = {}
    for entry in roi_files:
        parsed = layout.parse_roi_path(entry.path)
        if parsed is None:
            continue
        if parsed.form == "volume":
            rois[parsed.category, parsed.roi] = entry
        else:
            surfaces[parsed.category, parsed.roi, parsed.hemi, parsed.form] = entry
    return SubjectCatalog(
        location=location,
        subject=subject,
        sessions=sessions,
        maps=maps,
        rois=rois,
        roi_surfaces=surfaces,
        anatomy=tuple(anatomy),
        missing=tuple(_missing(subject, sessions, maps, rois)),
    )


def _listings(location: Location, folders: Sequence[str]) -> list[list[FileEntry]]:
    if location.is_local:
        return [location.files(folder) for folder in folders]
    with ThreadPoolExecutor(len(folders)) as pool:  # the latency of one listing, not of three
        return list(pool.map(location.files, folders))


def _sessions(subject: str, listed: Mapping[str, FileEntry]) -> tuple[SessionFiles, ...]:
    prefix = layout.subject_dir(subject) + "/"
    names = {path.removeprefix(prefix).partition("/")[0] for path in listed}
    found = []
    for name in sorted((n for n in names if layout.is_session(n)), key=layout.natural_order):
        files = {k: e for k in layout.SESSION_MAPS if (e := _nifti(listed, layout.session_path(subject, name, k, "")))}
        files |= {
            k: listed[path] for k in layout.SESSION_FILES if (path := layout.session_path(subject, name, k)) in listed
        }
        if files:
            found.append(SessionFiles(name, files))
    return tuple(found)


def _nifti(listed: Mapping[str, FileEntry], stem: str) -> FileEntry | None:
    return next((listed[stem + ending] for ending in layout.NIFTI_ENDINGS if stem + ending in listed), None)


def _missing(
    subject: str,
    sessions: Sequence[SessionFiles],
    maps: Mapping[str, FileEntry],
    rois: Mapping[tuple[str, str], FileEntry],
) -> list[str]:
    found = [layout.session_path(subject, s.session, kind) for s in sessions for kind in s.missing]
    numbers = [int(m[1]) for s in sessions if (m := re.fullmatch(r"ses-(\d+)", s.session))]
    gaps = sorted(set(range(1, max(numbers, default=0))) - set(numbers))
    found += [layout.session_dir(subject, layout.session_name(n)) for n in gaps]
    found += [layout.subject_path(subject, k) for k in layout.SUBJECT_MAPS if k not in maps]
    if "brain_mask" not in maps:
        found.append(layout.brain_mask_path(subject))
    if not rois:
        found.append(layout.roi_dir(subject))
    return found
