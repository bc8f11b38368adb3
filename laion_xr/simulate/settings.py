"""What is simulated: the arguments of `simulate`, checked and in one form. Knows names, not files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeGuard

from laion_xr import layout
from laion_xr.errors import SelectionError

PUBLISHED_SUBJECTS = ("sub-01", "sub-03", "sub-05", "sub-06", "sub-07")
PUBLISHED_GRID = (143, 143, 143)
PUBLISHED_DIMS = {"CLIP": 1024, "DINOv2": 1024, "PEcore": 1024, "SigLIP2": 1152}
SMALL_DIMS = {"CLIP": 64, "DINOv2": 64, "PEcore": 64, "SigLIP2": 72}

STIMULUS_PARTS = ("metadata", "images", "embeddings", "segmentations", "captions")
MODEL_LAYOUTS = ("grid", "flat", "anatomical", "rsquare")

# Share of the grid that is brain: as published, and more of it where the grid is small
PUBLISHED_BRAIN = 0.0923
SMALL_BRAIN = 0.21

Names = int | str | Iterable[int | str]


@dataclass(frozen=True)
class Settings:
    """The checked arguments of a simulation; `simulate` documents each."""

    subjects: tuple[str, ...]
    sessions: tuple[str, ...]
    trials: tuple[int, ...]  # one a session
    grid: tuple[int, int, int]
    seed: int
    n_shared_12: int
    n_shared_4: int
    n_features: int
    brain_fraction: float
    image_names: tuple[str, ...] | None
    image_size: int
    embedding_dims: tuple[tuple[str, int], ...]
    stimulus_parts: tuple[str, ...]
    surfaces: bool
    models: bool
    model_layout: str
    compress_level: int
    full_size: bool

    def trials_of(self, session: str) -> int:
        """Return the number of trials of a session."""
        return self.trials[self.sessions.index(session)]


def settings(
    subjects: Names | None = None,
    sessions: Names | None = None,
    trials: int | Sequence[int] | Mapping[str, int] | None = None,
    grid: int | Sequence[int] | None = None,
    seed: int = 0,
    *,
    n_shared_12: int | None = None,
    n_shared_4: int | None = None,
    n_features: int = 12,
    brain_fraction: float | None = None,
    image_names: Iterable[str] | None = None,
    image_size: int = 64,
    embedding_dims: int | str | Mapping[str, int] | None = None,
    full_size: bool = False,
    stimuli: bool | Collection[str] | None = None,
    surfaces: bool | None = None,
    models: bool | None = None,
    model_layout: str = "grid",
    compress_level: int = 2,
) -> Settings:
    """Return the checked arguments; what was left out gets its default, small or of full size.

    Raises
    ------
    SelectionError
        An argument that means nothing; the message says what was expected and found.
    """
    names = _names("subjects", subjects, layout.subject_name, 1 if full_size else 2)
    ses = _names("sessions", sessions, layout.session_name, 1 if full_size else 3)
    for session in ses:
        if not session.removeprefix("ses-").isdigit():
            raise SelectionError(f"sessions are numbered (3, '03', 'ses-03'): {session!r} is not; give numbers.")
    counts = _trials(trials if trials is not None else (1044 if full_size else 60), ses)
    # as published, about 770 distinct images in 1,044 trials; the small default repeats more, so that its few
    # trials still estimate a noise ceiling
    shares = (0.077, 0.098) if full_size else (0.1, 0.2)
    defaults = [max(1, round(share * min(counts))) for share in shares]
    return Settings(
        subjects=names,
        sessions=ses,
        trials=counts,
        grid=_grid(grid if grid is not None else (PUBLISHED_GRID if full_size else (24, 26, 22))),
        seed=_whole("seed", seed, 0),
        n_shared_12=_whole("n_shared_12", defaults[0] if n_shared_12 is None else n_shared_12, 0),
        n_shared_4=_whole("n_shared_4", defaults[1] if n_shared_4 is None else n_shared_4, 0),
        n_features=_whole("n_features", n_features, 8),
        brain_fraction=_fraction(brain_fraction, PUBLISHED_BRAIN if full_size else SMALL_BRAIN),
        image_names=_image_names(image_names),
        image_size=_whole("image_size", image_size, 8),
        embedding_dims=_dims(embedding_dims),
        stimulus_parts=_parts(stimuli if stimuli is not None else not full_size),
        surfaces=not full_size if surfaces is None else bool(surfaces),
        models=not full_size if models is None else bool(models),
        model_layout=_one_of("model_layout", model_layout, MODEL_LAYOUTS),
        compress_level=_whole("compress_level", compress_level, 0, 9),
        full_size=bool(full_size),
    )


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    if not _is_whole(value) or value < least or (most is not None and value > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise SelectionError(f"{name} must be a whole number {span}: got {value!r}.")
    return int(value)


def _listed(name: str, value: object) -> list[Any]:
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise SelectionError(f"{name} must be a whole number or a list: got {value!r}.")
    return list(value)


def _is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is an integer, Python's or numpy's, and not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _names(what: str, given: Names | None, canonical: Callable[[int | str], str], default: int) -> tuple[str, ...]:
    if given is None:
        given = default
    if _is_whole(given):
        n = _whole(what, given, 1)
        if what == "subjects":
            others = (f"sub-{i:02d}" for i in range(1, n + 6) if f"sub-{i:02d}" not in PUBLISHED_SUBJECTS)
            return (*PUBLISHED_SUBJECTS, *others)[:n]
        return tuple(canonical(i) for i in range(1, n + 1))
    items: list[Any] = [given] if isinstance(given, str) else _listed(what, given)
    names = tuple(canonical(item) for item in items)
    known = layout.is_subject if what == "subjects" else layout.is_session
    # nobody is number 0: it is a count that went wrong
    none = any(name.removeprefix("sub-").removeprefix("ses-").strip("0") == "" for name in names)
    if not names or none or len(set(names)) < len(names) or not all(known(name) for name in names):
        raise SelectionError(
            f"{what} must be a count of at least 1, or a list of distinct names or numbers, from 1 (letters and digits "
            f"only): got {given!r}."
        )
    return names


def _trials(given: int | Sequence[int] | Mapping[str, int], sessions: tuple[str, ...]) -> tuple[int, ...]:
    if _is_whole(given):
        return (_whole("trials", given, 1),) * len(sessions)
    if isinstance(given, Mapping):
        by_name = {layout.session_name(name): count for name, count in given.items()}
        if set(by_name) != set(sessions):
            raise SelectionError(f"trials must name each session once: the sessions are {sessions}, got {given!r}.")
        given = [by_name[name] for name in sessions]
    counts = tuple(_whole("trials", count, 1) for count in _listed("trials", given))
    if len(counts) != len(sessions):
        raise SelectionError(
            f"trials must be one number, or one a session: got {len(counts)} numbers for {len(sessions)} sessions."
        )
    return counts


def _grid(given: int | Sequence[int]) -> tuple[int, int, int]:
    sizes = (given,) * 3 if _is_whole(given) else tuple(_listed("grid", given))
    if len(sizes) != 3:
        raise SelectionError(f"grid must be one number or three: got {given!r}.")
    x, y, z = (_whole("grid", size, 6, 1000) for size in sizes)
    return x, y, z


def _fraction(given: float | None, default: float) -> float:
    value = default if given is None else float(given)
    if not 0.02 <= value <= 0.35:
        raise SelectionError(f"brain_fraction must lie between 0.02 and 0.35, to fit into the grid: got {given!r}.")
    return value


def _image_names(given: Iterable[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(given)
    prefixes = ("shared_12rep_", "shared_4rep_", "unique_")
    wrong = [name for name in names if not str(name).startswith(prefixes)]
    if wrong or len(set(names)) < len(names) or not names:
        raise SelectionError(
            f"image_names must be distinct names that begin with one of {prefixes}: "
            + (f"{wrong[0]!r} does not." if wrong else f"got {len(names)}, {len(set(names))} distinct.")
        )
    return names


def _dims(given: int | str | Mapping[str, int] | None) -> tuple[tuple[str, int], ...]:
    if given is None:
        dims: Mapping[str, int] = SMALL_DIMS
    elif isinstance(given, str):
        _one_of("embedding_dims", given, ("published",))
        dims = PUBLISHED_DIMS
    elif isinstance(given, Mapping):
        for model in given:
            _one_of("a model of embedding_dims", model, layout.EMBEDDING_MODELS)
        dims = {**SMALL_DIMS, **given}
    else:
        dims = dict.fromkeys(layout.EMBEDDING_MODELS, given)
    return tuple((model, _whole("embedding_dims", dims[model], 1)) for model in layout.EMBEDDING_MODELS)


def _parts(given: bool | Collection[str]) -> tuple[str, ...]:
    if isinstance(given, bool):
        return STIMULUS_PARTS if given else ()
    chosen = [given] if isinstance(given, str) else list(given)
    for part in chosen:
        _one_of("a part of stimuli", part, STIMULUS_PARTS)
    return tuple(part for part in STIMULUS_PARTS if part in chosen)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise SelectionError(f"{name} must be one of {', '.join(map(repr, allowed))}: got {value!r}.")
    return value
