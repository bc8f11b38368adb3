"""The simulated images: their names as published, what they show, and the features that drive the brain.

Everything about an image follows from the seed and its name, so that adding images changes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.errors import SelectionError
from laion_xr.schema import PARTICIPANT_CODES
from laion_xr.simulate.settings import PUBLISHED_SUBJECTS, Settings
from laion_xr.simulate.streams import stream

FloatArray = npt.NDArray[np.float32]

# What an image can show: one kind that each category of ROIs prefers
KINDS = ("body", "character", "face", "food", "animal", "object", "place", "pattern")
# Share of a feature's standard deviation that the kind of the image gives
KIND_SHARE = 0.7

# OOD type -> (names seen in the published set, ending)
_OOD = {
    "cropped": (("air_pump", "aloe", "apple", "bathtub"), "png"),
    "gabor": (("gabor-01-top-left", "gabor-02-top-right", "gabor-03-bottom-left"), "jpg"),
    "illusion-classic": (("classic-illusion-01-asahi", "classic-illusion-02-chubb"), "png"),
    "unusual": (("17FLORIDA", "Screenshot 2024-05-06 at 14.45.09"), "jpg"),
    "shape": (("blob_round-01", "blob_round-02", "blob_round-03"), "png"),
    "gaudy": (("gaudy-altar", "gaudy-bowl", "gaudy-boy", "gaudy-cactus"), "jpg"),
    "illusion-natural": (("cup-glitch", "door-portal", "flying-kayak"), "jpg"),
    "relations": (("007_saucer-ontop-cup_04", "010_potato-under-spoon_01"), "jpg"),
    "selfmade": (("01", "02", "03", "04"), "jpg"),
}
_THINGS = ("balloon", "poinsettia", "crowbar", "magnifying_glass", "exerciser", "aardvark", "acorn")
UNSEEN = 6  # images of a participant who is not simulated: in the metadata, in no trial


def shared_12_name(index: int) -> str:
    """Return the name of a shared image that is shown 12 times."""
    if index % 4 == 3:
        return f"shared_12rep_THINGS+_kmeans_{index}_{_THINGS[index // 4 % len(_THINGS)]}.jpg"
    return f"shared_12rep_LAION_cluster_{1003 + 7 * index}_i{index % 5}.jpg"


def shared_4_name(index: int) -> str:
    """Return the name of a shared image that is shown 4 times: two of three are out of distribution."""
    if index % 3 == 2:
        return f"shared_4rep_NSD_special1000_{100 + index}.jpg"
    position = index // 3 * 2 + index % 3
    types = list(_OOD)
    kind = types[position % len(types)]
    turn = position // len(types)
    names, ending = _OOD[kind]
    name = names[turn % len(names)]
    again = turn // len(names)
    return f"shared_4rep_OOD_{kind}_{name}{f'-{again:02d}' if again else ''}.{ending}"


def unique_names(seed: int, subject: str, session: str, count: int) -> list[str]:
    """Return the names of images that one subject sees once, in one session."""
    number = int(session.removeprefix("ses-"))
    first = int(stream(seed, subject, session, "clusters").integers(5003))
    names = []
    for index in range(count):
        collection = ("initial", "initial", "fillup", "initial", "new")[index % 5]
        # coprime steps: no cluster comes twice in a session, and `i` tells the sessions apart
        cluster = (first + 1811 * index) % 5003
        row = number + 100 * (index // 5003)
        names.append(f"unique_LAION_{collection}_cluster_{cluster}_i{row}_{participant_code(subject)}.jpg")
    return names


def participant_code(subject: str) -> str:
    """Return the participant in the names of a subject's unique images, as published where it is known."""
    if subject in PARTICIPANT_CODES:
        return PARTICIPANT_CODES[subject]
    text = subject.removeprefix("sub-")
    return f"p{int(text) + 10:02d}" if text.isdigit() else f"p{text}"


class Pools:
    """The images that sessions draw from: names made up here, or a list of the caller's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        given = settings.image_names
        self._shared_12 = None if given is None else [n for n in given if n.startswith("shared_12rep_")]
        self._shared_4 = None if given is None else [n for n in given if n.startswith("shared_4rep_")]

    def shared_12(self, start: int, stop: int) -> list[str]:
        """Return a range of the images shown 12 times; fewer where a given list ends."""
        if self._shared_12 is None:
            return [shared_12_name(i) for i in range(start, stop)]
        return self._shared_12[start:stop]

    def shared_4(self, start: int, stop: int) -> list[str]:
        """Return a range of the images shown 4 times; fewer where a given list ends."""
        if self._shared_4 is None:
            return [shared_4_name(i) for i in range(start, stop)]
        return self._shared_4[start:stop]

    def unique(self, subject: str, session: str, count: int) -> list[str]:
        """Return the images that a subject sees in this session only."""
        cfg = self._settings
        if cfg.image_names is None:
            return unique_names(cfg.seed, subject, session, count)
        ending = f"_{participant_code(subject)}."
        own = [name for name in cfg.image_names if name.startswith("unique_") and ending in name]
        start = (int(session.removeprefix("ses-")) - 1) * max(cfg.trials)
        if len(own) < start + count:
            raise SelectionError(
                f"image_names hold {len(own)} unique images of {subject} (names with {ending!r}), and {session} needs "
                f"{count} from position {start} on: give more names, fewer trials or more shared images."
            )
        return own[start : start + count]


def kind_of(seed: int, name: str) -> str:
    """Return what an image shows."""
    return KINDS[int(stream(seed, "image", name).integers(len(KINDS)))]


def features_of(seed: int, names: Sequence[str], n_features: int) -> FloatArray:
    """Return the latent features of images.

    Over the population of images each feature has mean 0 and variance 1, and features are uncorrelated. The
    first eight carry the kind of the image (see `kind_means`); the rest are Gaussian.

    Returns
    -------
    ndarray of float32, shape (image, feature)
    """
    n_kinds = len(KINDS)
    out = np.empty((len(names), n_features), np.float32)
    for row, name in enumerate(names):
        rng = stream(seed, "image", name)
        kind = int(rng.integers(n_kinds))
        g = rng.standard_normal(n_features + 1)
        # one common term cancels the covariance that "exactly one kind" brings: the sum has covariance I
        out[row] = g[:-1]
        out[row, :n_kinds] = np.sqrt(1 - KIND_SHARE**2) * g[:n_kinds] + KIND_SHARE / np.sqrt(n_kinds) * g[-1]
        out[row] += kind_means(n_features)[kind]
    return out


def kind_means(n_features: int) -> FloatArray:
    """Return the mean features of the images of each kind, float32 (kind, feature), kinds in the order of `KINDS`."""
    n = len(KINDS)
    out = np.zeros((n, n_features), np.float32)
    out[:, :n] = KIND_SHARE * np.sqrt(n) * (np.eye(n) - 1 / n)
    return out


def metadata_table(shown: Iterable[str], settings: Settings) -> pd.DataFrame:
    """Return the stimulus metadata: shared images first, then each subject's, then some that nobody saw.

    Columns as published: image_name, dataset, participant, unique_or_shared, n_reps.
    """
    names = list(dict.fromkeys([*shown, *(settings.image_names or ())]))
    if settings.image_names is None:
        absent = next((s for s in PUBLISHED_SUBJECTS if s not in settings.subjects), "sub-99")
        names += unique_names(settings.seed, absent, "ses-01", UNSEEN)
    owners = {participant_code(s): s for s in (*PUBLISHED_SUBJECTS, *settings.subjects)}
    rank = {"shared_12rep": 0, "shared_4rep": 1}
    codes = [name.rpartition(".")[0].rpartition("_")[2] for name in names]
    order = sorted(
        range(len(names)),
        key=lambda i: (rank.get("_".join(names[i].split("_")[:2]), 2), codes[i] if names[i][0] == "u" else ""),
    )
    rows = []
    for i in order:
        parts = names[i].split("_")
        shared = parts[0] == "shared"
        rows.append(
            {
                "image_name": names[i],
                "dataset": parts[2] if shared else parts[1],
                "participant": "all" if shared else owners.get(codes[i], codes[i]),
                "unique_or_shared": parts[0],
                "n_reps": int(parts[1].removesuffix("rep")) if shared else 1,
            }
        )
    return pd.DataFrame(rows, columns=["image_name", "dataset", "participant", "unique_or_shared", "n_reps"])
