"""`load_subject` and `Subject` of the published loader, on the lazy reading of laion_xr."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import pandas as pd

from laion_xr import layout
from laion_xr.compat.anatomy import SubjectAnatomy
from laion_xr.compat.arguments import stimulus_kind
from laion_xr.compat.config import get_data_dir
from laion_xr.compat.errors import SubjectNameTypeError
from laion_xr.compat.files import SubjectFiles
from laion_xr.compat.pictures import SubjectPictures
from laion_xr.compat.raw import SubjectRaw
from laion_xr.compat.stimuli import StimulusTables
from laion_xr.compat.trialwise import (
    TrialCaptions,
    TrialEmbeddings,
    TrialImages,
    TrialSegmentations,
    trial_table,
)
from laion_xr.errors import DataNotDownloadedError, SubjectNotFoundError
from laion_xr.location import Location

__all__ = ["Subject", "load_subject"]


def load_subject(subject: str) -> Subject:
    """Load a subject of the configured data folder.

    Parameters
    ----------
    subject
        `"sub-03"`, or `"03"`.

    Raises
    ------
    TypeError
        Not a string; it is a `SubjectNotFoundError` too, as the published documentation has it.
    SubjectNotFoundError
        An empty name.
    DataDirNotSetError
        No data folder is configured.
    DataNotDownloadedError
        There is nothing of the subject.

    Examples
    --------
    >>> sub = load_subject("sub-03")  # doctest: +SKIP
    >>> sub.get_betas(session="ses-01", roi="FFA1").shape  # doctest: +SKIP
    (1044, 312)
    """
    name = resolve_subject_id(subject)
    root = Location.of(get_data_dir())
    if name not in root.folders(layout.BETAS_DIR):
        raise DataNotDownloadedError(
            f"Nothing of {name} is there: expected the folder {root.show(layout.subject_dir(name))}; download it, for "
            f"example with laion_xr.download(subject={name!r})."
        )
    return Subject(name, root.url if root.is_local else root)


def resolve_subject_id(subject: str) -> str:
    """Return `"sub-03"` for `"sub-03"` or `"03"`; raises as `load_subject`."""
    if not isinstance(subject, str):
        raise SubjectNameTypeError(
            f"subject must be a string such as 'sub-01' or '01': found {subject!r}, a {type(subject).__name__}."
        )
    if not subject or subject == "sub-":
        raise SubjectNotFoundError(f"A subject has a name, such as 'sub-03' or '03': found {subject!r}.")
    return layout.subject_name(subject)


class Subject(SubjectAnatomy, SubjectRaw, SubjectPictures):
    """The files of one subject as NumPy arrays and tables; each call reads what it returns and no more.

    Voxels are those of the brain mask in C order of the grid. Every method that has `mask_source` takes
    `"anatomical"` (the mask of the anatomy) or `"rsquare"` (voxels with a fit): use one of them throughout.

    Parameters
    ----------
    subject_id
        `"sub-03"`, or `"03"`.
    data_dir
        The data folder.

    Raises
    ------
    TypeError, SubjectNotFoundError
        As `load_subject`.
    """

    def __init__(self, subject_id: str, data_dir: str | os.PathLike[str] | Location) -> None:
        self._files = SubjectFiles(Location.of(data_dir), resolve_subject_id(subject_id))
        self._tables = StimulusTables(self._files.location)

    def __repr__(self) -> str:
        return f"<Subject {self.subject_id} of {self._files.location.url}>"

    @property
    def subject_id(self) -> str:
        """The subject's name, such as `"sub-03"`."""
        return self._files.subject

    def get_n_stimuli(self, stimuli: str | None = None) -> int:
        """Return the number of stimuli of the dataset: all, `"shared"` or `"unique"`.

        Raises
        ------
        StimuliNotDownloadedError
            The metadata are not there.
        ValueError
            Not one of these, or the metadata are damaged.
        """
        if (kind := stimulus_kind(stimuli)) is None:
            return len(self._tables.metadata)
        return int((self._tables.with_columns("unique_or_shared")["unique_or_shared"] == kind).sum())

    def has_stimuli(self) -> bool:
        """Whether the stimulus metadata and the (gated) images are there."""
        return self._tables.has("metadata") and self._tables.has("images")

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """The trials of all sessions, a row a trial; the row's number is the trial index of `images` and the others.

        The columns of the trial tables, then `session_trial` (position in the session), `image_name`, `stim_idx` (row
        in the stimulus metadata), `unique_or_shared` and `dataset`. It is made once.

        Raises
        ------
        StimuliNotDownloadedError
            The stimulus metadata are not there.
        DataNotDownloadedError
            The trial table of a session is not there.
        FileFormatError
            A table is damaged (a `ValueError`).
        """
        stimuli = self._tables.with_columns("unique_or_shared", "dataset")
        return trial_table({name: self._files.trials(name) for name in self.get_sessions()}, stimuli)

    @property
    def images(self) -> TrialImages:
        """The image of each trial, by trial index."""
        return TrialImages(self)

    @property
    def embeddings(self) -> TrialEmbeddings:
        """The embeddings of each trial's image, by trial index."""
        return TrialEmbeddings(self)

    @property
    def segmentations(self) -> TrialSegmentations:
        """The masks of each trial's image, by trial index; empty for images without any."""
        return TrialSegmentations(self)

    @property
    def captions(self) -> TrialCaptions:
        """The captions of each trial's image, by trial index."""
        return TrialCaptions(self)

    def to_torch_dataset(self, **kwargs: Any) -> Any:
        """Return a session as a PyTorch dataset of dicts: see `laion_xr.compat.torch_data.LaionFMRIDataset`.

        Parameters
        ----------
        **kwargs
            `session`, and `roi`, `mask`, `nc_threshold`, `image_transform`, `mask_source`.

        Raises
        ------
        MissingExtraError
            PyTorch is not installed (an `ImportError`).
        """
        from laion_xr.compat.torch_data import LaionFMRIDataset  # noqa: PLC0415 - PyTorch takes seconds

        return LaionFMRIDataset(self, **kwargs)
