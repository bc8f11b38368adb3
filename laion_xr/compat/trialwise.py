"""What was shown on each trial of a subject, by global trial index: the namespaces of `Subject`."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from laion_xr.compat.arguments import Session, one_session
from laion_xr.compat.captions import Captions
from laion_xr.compat.files import SubjectFiles
from laion_xr.compat.segmentations import Segmentations
from laion_xr.compat.stimuli import StimulusTables, present_embeddings
from laion_xr.errors import DataNotDownloadedError, FileFormatError

_COLUMNS = ("session", "session_trial", "image_name", "stim_idx", "unique_or_shared", "dataset")

Texts = builtins.list[str]  # in the classes `list` is a method


def trial_table(tables: Mapping[str, pd.DataFrame], stimuli: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of all sessions, a row a trial, with what the stimulus metadata know of each image.

    Parameters
    ----------
    tables
        Trial table of each session, in order.
    stimuli
        The stimulus metadata; an image that they do not have is NaN.

    Raises
    ------
    FileFormatError
        A trial table without labels.
    """
    known = stimuli.drop_duplicates("image_name", keep="last").set_index("image_name")
    row = pd.Series(np.arange(len(stimuli)), index=stimuli["image_name"]).groupby(level=0).last()
    parts = []
    for session, trials in tables.items():
        if "label" not in trials:
            raise FileFormatError(
                f"The trial table of {session} does not say which image was shown: expected a column 'label', found "
                f"{', '.join(map(str, trials.columns))}."
            )
        names = trials["label"].astype(str)
        parts.append(
            trials.assign(
                session=session,
                session_trial=np.arange(len(trials)),
                image_name=names,
                stim_idx=names.map(row),
                unique_or_shared=names.map(known["unique_or_shared"]),
                dataset=names.map(known["dataset"]),
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_COLUMNS))


class SubjectTrials(Protocol):
    """What is needed of a `Subject`: its trials, and where its files are."""

    _files: SubjectFiles
    _tables: StimulusTables

    @property
    def metadata(self) -> pd.DataFrame:
        """A row a trial."""


def session_trials(subject: SubjectTrials, session: Session) -> pd.DataFrame:
    """Return the rows of `metadata` of a session, by any of its names.

    Raises
    ------
    DataNotDownloadedError
        It is not there, or was not when `metadata` was made.
    SelectionError
        What is given is not one session (a `ValueError`).
    """
    name = one_session(session)
    table = subject.metadata
    rows = table[table["session"] == name]
    if rows.empty and len(subject._files.trials(name)):  # raises where the session is not there
        raise DataNotDownloadedError(
            f"{name} was not there when the metadata of {subject._files.subject} were made: load the subject anew."
        )
    return rows


class Trialwise:
    """Looks up the image of a trial.

    Parameters
    ----------
    subject
        Its `metadata` has a row a trial.
    """

    def __init__(self, subject: SubjectTrials) -> None:
        self._subject = subject

    def _name(self, trial_idx: int) -> str:
        return str(self._subject.metadata["image_name"].iloc[int(trial_idx)])

    def _names(self, session: Session | None) -> Texts:
        table = self._subject.metadata if session is None else session_trials(self._subject, session)
        return [str(name) for name in table["image_name"]]

    def _held(self, name: str, make: Any) -> Any:
        # on the subject, so that a file is listed and a table parsed once
        held = self._subject.__dict__.setdefault("_opened", {})
        if name not in held:
            held[name] = make(self._subject._files.location)
        return held[name]


class TrialImages(Trialwise):
    """`sub.images`: the image of each trial."""

    def __len__(self) -> int:
        return len(self._subject.metadata)

    def __getitem__(self, trial_idx: int) -> bytes:
        return self._subject._tables.encoded(self._name(trial_idx))

    def get(self, trial_idx: int, *, as_displayed: bool = True) -> Image.Image:
        """Return the image of a trial as a PIL picture: as it was shown, or in the mode of its file."""
        return self._subject._tables.picture(self._name(trial_idx), as_displayed)

    def all(self, session: Session | None = None, *, as_displayed: bool = True) -> Iterator[Image.Image]:
        """Yield the images in the order of the trials, of one session or all."""
        for name in self._names(session):
            yield self._subject._tables.picture(name, as_displayed)

    def array(self, session: Session | None = None) -> npt.NDArray[np.uint8]:
        """Return the images as they were shown, `(trial, y, x, rgb)` uint8; one that repeats is decoded once."""
        names = self._names(session)
        if not names:
            return np.empty((0, 0, 0, 3), dtype=np.uint8)
        first: dict[str, int] = {}
        out: npt.NDArray[np.uint8] | None = None
        for at, name in enumerate(names):
            if name in first and out is not None:
                out[at] = out[first[name]]
                continue
            pixels = np.asarray(self._subject._tables.picture(name))
            out = np.empty((len(names), *pixels.shape), dtype=np.uint8) if out is None else out
            out[at] = pixels
            first[name] = at
        assert out is not None
        return out


class TrialEmbeddings(Trialwise):
    """`sub.embeddings`: the embeddings of each trial's image."""

    @property
    def models(self) -> Texts:
        """Models whose files are there."""
        found: Texts = self._held("embeddings", present_embeddings).models
        return found

    def get(self, model: str, trial_idx: int) -> npt.NDArray[np.float16]:
        """Return the embedding of a trial's image, `(feature,)`."""
        return np.asarray(self._held("embeddings", present_embeddings).get(model, self._name(trial_idx)))

    def all(self, model: str, session: Session | None = None) -> npt.NDArray[np.float16]:
        """Return the embeddings in the order of the trials, `(trial, feature)`, of one session or all."""
        return np.asarray(self._held("embeddings", present_embeddings).get(model, self._names(session)))


class TrialSegmentations(Trialwise):
    """`sub.segmentations`: the masks of each trial's image; empty for images without any."""

    @property
    def _masks(self) -> Segmentations:
        found: Segmentations = self._held("segmentations", Segmentations)
        return found

    def has_image(self, trial_idx: int) -> bool:
        """Whether the image of a trial has masks."""
        return self._masks.has_image(self._name(trial_idx))

    def nouns(self, trial_idx: int, localized_only: bool = True) -> Texts:
        """Return what the image of a trial shows; nothing for an image without masks."""
        return self._masks.nouns(self._name(trial_idx), localized_only)

    def for_image(self, trial_idx: int) -> pd.DataFrame:
        """Return the rows of the masks of a trial's image."""
        return self._masks.for_image(self._name(trial_idx))

    def get(self, trial_idx: int, noun: str, instance: int = 0) -> npt.NDArray[np.uint8]:
        """Return a mask of a trial's image, `(y, x)` uint8; a `KeyError` where there is none."""
        return self._masks.get(self._name(trial_idx), noun, instance)


class TrialCaptions(Trialwise):
    """`sub.captions`: the captions of each trial's image."""

    @property
    def _texts(self) -> Captions:
        found: Captions = self._held("captions", Captions)
        return found

    def list(self, trial_idx: int, source: str | None = None) -> Texts:
        """Return the captions of a trial's image, of people (`"human"`), of a model (`"ai"`) or both."""
        return self._texts.list(self._name(trial_idx), source)

    def human(self, trial_idx: int, limit: int | None = None) -> Texts:
        """Return the captions that people wrote."""
        return self._texts.human(self._name(trial_idx), limit)

    def ai(self, trial_idx: int) -> str | None:
        """Return the caption that a model wrote, None where there is none."""
        return self._texts.ai(self._name(trial_idx))

    def for_image(self, trial_idx: int) -> pd.DataFrame:
        """Return the rows of the captions of a trial's image."""
        return self._texts.get(self._name(trial_idx))
