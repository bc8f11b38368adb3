"""Which files of the bucket are wanted: kinds of files, sessions, and the entities in their names (BIDS).

Pure: paths in, decisions out. A filter on an entity lets files pass that have no such entity, as the published loader's
does: a trial table has no `space`, and is wanted with the betas that have one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral

from laion_xr import layout
from laion_xr.errors import SelectionError, closest, describe_names, did_you_mean

ROOT_FILES = ("dataset_description.json", "participants.tsv", "participants.json", "README")
AVERAGES = "averages"
ALL = "all"

# What can be asked for with include=; the first group is what a Dataset is made of
DATASET_KINDS = ("betas", "trials", "noise_ceiling", "r2", "hrf_index", "frac_ridge", "subject_maps", "rois", "summary")
EXTRA_KINDS = ("model", "figures", "other")
GROUPS = {
    "default": DATASET_KINDS,
    "maps": ("noise_ceiling", "r2", "hrf_index", "frac_ridge", "subject_maps"),
    ALL: (*DATASET_KINDS, *EXTRA_KINDS),
}
# What has an argument of its own
BRAIN_MASK, ANATOMICAL, SURFACES = "brain_mask", "anatomical", "surfaces"
STIMULI, EMBEDDINGS, SEGMENTATIONS, CAPTIONS = "stimuli", "embeddings", "segmentations", "captions"
IMAGES, ROOT = "images", "root"

_ENDINGS = {name: kind for kind, name in layout.SESSION_FILES.items()}
_TOKEN = re.compile(r"(?:^|[/_])(?P<entity>[a-z]+)-(?P<value>[A-Za-z0-9]+)(?=[_./]|$)")
_SESSION_FOLDER = re.compile(r"/(ses-[A-Za-z0-9]+)/")

Names = str | int | Iterable[str | int] | None


def kind_of(path: str) -> str:
    """Return what a file of the bucket is; a sidecar is what it goes with."""
    folder, _, name = path.rpartition("/")
    if path in ROOT_FILES:
        return ROOT
    if path.startswith(f"{layout.STIMULI_DIR}/"):
        return _stimulus_kind(path)
    if path.startswith(f"{layout.ROIS_DIR}/"):
        return "rois"
    if path.startswith(f"{layout.FREESURFER_DIR}/"):
        return SURFACES
    if path.startswith(f"{layout.ANATOMICAL_DIR}/"):
        mask = "_space-T1w_res-1pt8_desc-brain_mask."
        return BRAIN_MASK if mask in name else ANATOMICAL
    if not path.startswith(f"{layout.BETAS_DIR}/"):
        return "other"
    if "/figures" in folder:
        return "figures"
    stem = name.partition("_task-images_")[2]
    return _beta_kind(stem, session_of(path) is not None)


def session_of(path: str) -> str | None:
    """Return the session whose folder a file of the betas is in; None where it is the subject's as a whole.

    Anatomy is in a folder of a session too (`ses-PrismaAnat`), which is no session of images.
    """
    if not path.startswith(f"{layout.BETAS_DIR}/"):
        return None
    found = _SESSION_FOLDER.search(path)
    return found[1] if found else None


def entities(path: str) -> dict[str, str]:
    """Return the entities of a file's name, and its `suffix`: `{"sub": "03", "desc": "R2", "suffix": "statmap"}`."""
    name = path.rpartition("/")[2]
    found = {m["entity"]: m["value"] for m in _TOKEN.finditer(name)}
    stem = name.partition(".")[0]
    return {**found, "suffix": stem.rpartition("_")[2]}


@dataclass(frozen=True)
class Selection:
    """What is wanted of a subject, and of the stimuli.

    Attributes
    ----------
    kinds
        Names of `GROUPS` or kinds, or patterns of paths (`*` in them); None is what a Dataset is made of.
    sessions
        Canonical names, `"averages"` for what is the subject's as a whole; None is all.
    filters
        Entity or `"suffix"` -> accepted values.
    """

    kinds: tuple[str, ...] | None = None
    sessions: tuple[str, ...] | None = None
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    anatomical: bool = False
    surfaces: bool = False

    @classmethod
    def of(
        cls,
        session: Names = None,
        include: Names = None,
        desc: Names = None,
        stat: Names = None,
        space: Names = None,
        suffix: Names = None,
        anatomical: bool = False,
        surfaces: bool = False,
    ) -> Selection:
        """Return a selection for the arguments of `laion_xr.download`.

        Raises
        ------
        SelectionError
            A kind of files that there is not, or a value that is no name.
        """
        kinds = texts("include", include)
        for name in kinds or ():
            if "*" not in name and name not in GROUPS and name not in GROUPS[ALL]:
                known = [*GROUPS, *GROUPS[ALL]]
                near = closest(name, known)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise SelectionError(
                    f"include={name!r} is no kind of files.{hint} There are: {describe_names(known)}; or a pattern of "
                    "paths, such as '*_events.tsv'."
                )
        sessions = texts("session", session)
        if sessions == (ALL,):
            sessions = None
        if sessions is not None:
            sessions = tuple(s if s == AVERAGES else layout.session_name(s) for s in sessions)
        given = {"desc": desc, "stat": stat, "space": space, "suffix": suffix}
        filters = {name: values for name, value in given.items() if (values := texts(name, value)) is not None}
        cleaned = tuple((name, tuple(v.removeprefix(f"{name}-") for v in values)) for name, values in filters.items())
        return cls(kinds, sessions, cleaned, anatomical, surfaces)

    def wants(self, path: str) -> bool:
        """Whether a file of a subject is wanted; the mask of the brain always is: without it nothing opens."""
        return kind_of(path) == BRAIN_MASK or self.answers(path)

    def answers(self, path: str) -> bool:
        """Whether a file is what was asked for: the mask of the brain only where it was named."""
        kind = kind_of(path)
        if not self._wants_session(path) or not self._passes(path):
            return False
        if kind in (ANATOMICAL, SURFACES):
            return (kind == ANATOMICAL and self.anatomical) or (kind == SURFACES and self.surfaces)
        if self.kinds is not None:
            return any(_is_of(path, kind, name) for name in self.kinds)
        return kind in DATASET_KINDS or self._is_named(path)

    def require_known(self, paths: Iterable[str], where: str) -> None:
        """Raise for a name of which there is not a single file: one that is mistyped would be left out silently.

        Parameters
        ----------
        paths
            All files of the subjects that were asked for.
        where
            What has them, for the message.

        Raises
        ------
        SelectionError
            A session, a kind, a pattern or the value of an entity that no file has; the message says what there is.
        """
        listed = list(paths)
        sessions = sorted({s for path in listed if (s := session_of(path))}, key=layout.natural_order)
        for name in self.sessions or ():
            if name != AVERAGES and name not in sessions:
                raise SelectionError(f"{where}: {did_you_mean('Session', name, sessions)}")
        kinds = {path: kind_of(path) for path in listed}
        for name in self.kinds or ():
            if not any(_is_of(path, kind, name) for path, kind in kinds.items()):
                there = describe_names(kind for kind in GROUPS[ALL] if kind in kinds.values())
                raise SelectionError(f"{where}: no file answers to include={name!r}; there are {there}.")
        for entity, values in self.filters:
            known = sorted({has[entity] for path in listed if entity in (has := entities(path))})
            for value in values:
                if value not in known:
                    raise SelectionError(f"{where}: {did_you_mean(entity, value, known)}")

    def _wants_session(self, path: str) -> bool:
        if self.sessions is None:
            return True
        session = session_of(path)
        # what is the subject's as a whole is small, and a session alone does not open with its ROIs and ceilings
        return session is None or session in self.sessions

    def _passes(self, path: str) -> bool:
        has = entities(path)
        return all(name not in has or has[name] in values for name, values in self.filters)

    def _is_named(self, path: str) -> bool:
        """Whether `desc` or `suffix` name this very file: the model, which is left out else, is wanted then."""
        has = entities(path)
        return any(has.get(name) in values for name, values in self.filters if name in ("desc", "suffix"))


@dataclass(frozen=True)
class StimulusSelection:
    """What is wanted of the stimuli: the table always; embeddings of models (None: of all), and the rest.

    Images are gated, and never among these files.
    """

    metadata: bool = True
    models: tuple[str, ...] | None = ()
    segmentations: bool = False
    captions: bool = False

    def wants(self, path: str) -> bool:
        """Whether a file of the stimuli is wanted."""
        kind = kind_of(path)
        if kind == EMBEDDINGS:
            return self.models is None or layout.embedding_model(path) in self.models
        return (
            (kind == STIMULI and self.metadata)
            or (kind == SEGMENTATIONS and self.segmentations)
            or (kind == CAPTIONS and self.captions)
        )


def texts(argument: str, value: object) -> tuple[str, ...] | None:
    """Return an argument as a tuple of names: one, or several; None as it is.

    Raises
    ------
    SelectionError
        It is neither a name nor a list of names, or empty.
    """
    if value is None:
        return None
    values: list[object] = [value] if isinstance(value, (str, Integral)) else []
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict)):
        try:
            values = list(value)
        except TypeError:  # an array without an axis
            values = []
    if not values or any(isinstance(v, bool) or not isinstance(v, (str, Integral)) or str(v) == "" for v in values):
        raise SelectionError(f"{argument}={value!r} is not understood: expected a name, or a list of names.")
    return tuple(str(v) for v in values)


def _is_of(path: str, kind: str, name: str) -> bool:
    """Whether a file is of a kind, a group of kinds, or a pattern, by its name."""
    return fnmatchcase(path, name) if "*" in name else kind in GROUPS.get(name, (name,))


def _stimulus_kind(path: str) -> str:
    if layout.embedding_model(path) is not None:
        return EMBEDDINGS
    kinds = {layout.stimulus_path(kind): kind for kind in layout.STIMULUS_FILES}
    kind = kinds.get(path)
    if kind == "metadata":
        return STIMULI
    if kind in ("segmentations", "segmentations_metadata"):
        return SEGMENTATIONS
    if kind == CAPTIONS:
        return CAPTIONS
    # not ours to fetch, whatever it is
    return IMAGES if kind == "images" else "other"


def _beta_kind(stem: str, in_session: bool) -> str:
    bare = stem.partition(".")[0]
    if in_session:
        for kind, name in layout.SESSION_MAPS.items():
            if bare == name:
                return kind
        for name, kind in _ENDINGS.items():
            if bare == name.partition(".")[0]:
                return kind
    elif bare in layout.SUBJECT_MAPS.values():
        return "subject_maps"
    return "summary" if bare == "desc-GLMsingle_summary" else "other"
