"""What `laion-xr info` reports: the fields are the keys of `--json`, which stay as they are from version to version."""

from __future__ import annotations

from dataclasses import dataclass, field

from laion_xr._version import __version__


@dataclass(frozen=True)
class FileReport:
    """A file of the published layout: its size in bytes, None where it is not here."""

    kind: str
    path: str
    size: int | None


@dataclass(frozen=True)
class SessionReport:
    """A session: counts are None where nothing tells them; `present` and `missing` are kinds of files."""

    session: str
    trials: int | None
    runs: int | None
    stimuli: int | None
    shared_trials: int | None
    size: int
    present: list[str]
    missing: list[str]


@dataclass(frozen=True)
class RoiReport:
    """An ROI: voxels inside the mask, and the median of their noise ceilings in percent; None where not known."""

    roi: str
    category: str
    voxels: int | None
    noise_ceiling: float | None


@dataclass(frozen=True)
class SubjectReport:
    """A subject.

    Attributes
    ----------
    absent_sessions
        Gaps: sessions of which there is no file, before the last one that has some.
    trials, voxels, grid, mask_source
        None where nothing tells them; `voxels` are those of the mask.
    maps
        The brain mask and the subject's maps.
    noise_ceiling
        Which map the ROIs' ceilings are from.
    missing
        Paths or folders of the published layout that are not here.
    problems
        Sentences: files that are here and cannot be used.
    """

    subject: str
    size: int
    files: int
    trials: int | None
    voxels: int | None
    grid: list[int] | None
    mask_source: str | None
    noise_ceiling: str | None
    sessions: list[SessionReport]
    absent_sessions: list[str]
    maps: list[FileReport]
    rois: list[RoiReport]
    missing: list[str]
    problems: list[str]


@dataclass(frozen=True)
class StimuliReport:
    """The stimulus files, and what they are of: number of images, models with embeddings."""

    images: int | None
    models: list[str]
    size: int
    files: list[FileReport]


@dataclass(frozen=True)
class RootReport:
    """Everything under a root, as `laion-xr info --json` prints it."""

    root: str
    simulated: bool
    subjects: list[SubjectReport]
    stimuli: StimuliReport
    problems: list[str]
    laion_xr_version: str = field(default=__version__)
