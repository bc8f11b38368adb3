"""What the arguments of the pictures are: one rule a name, checked before anything is read.

A name means the same in every picture, so its rule stands here; what is of one picture only is given to `checked`.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import reprlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import xarray as xr
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure

from laion_xr.errors import SelectionError

P = ParamSpec("P")
R = TypeVar("R")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60  # Python 3.11 has no arguments for them


class Rule(NamedTuple):
    """What an argument may be.

    Attributes
    ----------
    take
        Returns it as the picture wants it; a ValueError or TypeError where it is something else.
    expected
        What it is, in words.
    instead
        What to do.
    optional
        None may stand for it.
    """

    take: Callable[[Any], Any]
    expected: str
    instead: str
    optional: bool = False


def checked(**own: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that checks arguments by their names, and hands on numbers as Python's own.

    Raises
    ------
    SelectionError
        By what is decorated: an argument is not what its rule says, or `vmin` is not below `vmax`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        picture = getattr(function, "__name__", "")
        rules = {n: rule for n, rule in (_SHARED | own).items() if n in signature.parameters}

        @functools.wraps(function)
        def checking(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python says it better
            for argument, value in given.arguments.items():
                if argument in rules:
                    given.arguments[argument] = _taken(picture, argument, value, rules[argument])
            low, high = given.arguments.get("vmin"), given.arguments.get("vmax")
            if low is not None and high is not None and not low < high:
                raise SelectionError(
                    f"{picture}: expected vmin below vmax, found vmin={low!r} and vmax={high!r}; change one, or leave "
                    "it out."
                )
            return function(*given.args, **given.kwargs)

        return checking

    return decorate


def limit() -> Rule:
    """Return the rule of an end of a scale."""
    return Rule(_number, "a finite number", "give one, or leave it out for the range of the values", True)


def distance() -> Rule:
    """Return the rule of what is counted from 0 in both directions."""
    return Rule(_from_zero, "a number of 0 or more", "give one, or leave it out to draw every value", True)


def count(of: str) -> Rule:
    """Return the rule of a number of things."""
    return Rule(_whole, f"a whole number above 0 ({of})", "give one")


def inches() -> Rule:
    """Return the rule of a width."""
    return Rule(_length, "a number of inches above 0", "give one, or leave it out", True)


def one_of(*words: str, optional: bool = False) -> Rule:
    """Return the rule of an argument with few words."""

    def take(value: Any) -> str:
        word = _text(value)
        if word not in words:
            raise ValueError(word)
        return word

    said = [*map(repr, words), *(["None"] if optional else [])]
    return Rule(take, " or ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said), "choose one", optional)


def name() -> Rule:
    """Return the rule of a name that is looked up later."""
    return Rule(_text, "a name", "give one in quotes", True)


def names(example: str, optional: bool = False) -> Rule:
    """Return the rule of a name or several, which become a list."""
    return Rule(_texts, "a name or a list of names", f"give one or more, as in {example}", optional)


def flag() -> Rule:
    """Return the rule of a yes or no."""
    return Rule(_flag, "True or False", "choose one")


def flag_or_name() -> Rule:
    """Return the rule of a yes, a no, or the name of what is meant."""
    return Rule(lambda v: v if isinstance(v, str) else _flag(v), "True, False or a name", "choose one")


def pixels() -> Rule:
    """Return the rule of the size of a picture in pixels."""
    return Rule(_pair, "(voxels, trials), two numbers above 0", "give both, as in (600, 1000)")


def features() -> Rule:
    """Return the rule of features: a model's name, or an array."""
    return Rule(_features, "the name of a model, or a DataArray (stimulus, feature)", "give one of these")


def _taken(picture: str, argument: str, value: Any, rule: Rule) -> Any:
    if value is None and rule.optional:
        return None
    try:
        return rule.take(value)
    except (TypeError, ValueError, OverflowError):
        found = " ".join(_SHORT.repr(value).split())
        raise SelectionError(f"{picture}: {argument} is {rule.expected}, found {found}; {rule.instead}.") from None


def _scalar(value: Any) -> Any:
    # arrays without a dim, lazy ones too: ds.noise_ceiling.max()
    return np.asarray(value)[()] if getattr(value, "ndim", None) == 0 else value


def _number(value: Any) -> float:
    number = _scalar(value)
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, numbers.Real) or not math.isfinite(number):
        raise ValueError(value)
    return int(number) if isinstance(number, numbers.Integral) else float(number)


def _from_zero(value: Any) -> float:
    found = _number(value)
    if found < 0:
        raise ValueError(value)
    return found


def _whole(value: Any) -> int:
    found = _number(value)
    if found != int(found) or found < 1:
        raise ValueError(value)
    return int(found)


def _length(value: Any) -> float:
    found = _number(value)
    if found <= 0:
        raise ValueError(value)
    return found


def _text(value: Any) -> str:
    value = _scalar(value)
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _caption(value: Any) -> str:
    value = _scalar(value)
    if not isinstance(value, (str, numbers.Number)):
        raise TypeError(value)
    return str(value)


def _texts(value: Any) -> list[str]:
    value = _scalar(value)
    found = [value] if isinstance(value, str) else [_text(one) for one in value]
    if not found:
        raise ValueError(value)
    return found


def _flag(value: Any) -> bool:
    value = _scalar(value)
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(value)
    return bool(value)


def _pair(value: Any) -> tuple[int, int]:
    if not isinstance(value, Iterable):
        raise TypeError(value)
    first, second = (_whole(one) for one in value)
    return first, second


def _dataset(value: Any) -> xr.Dataset | xr.DataArray:
    if not isinstance(value, (xr.Dataset, xr.DataArray)):
        raise TypeError(value)
    return value


def _features(value: Any) -> xr.DataArray | str:
    return value if isinstance(value, xr.DataArray) else _text(value)


def _values(value: Any) -> Any:
    # what has a shape, and names, are looked at where the voxels are known
    return np.asarray(value) if isinstance(value, (list, tuple)) else value


def _colours(value: Any) -> Colormap | str:
    return value if isinstance(value, Colormap) else _text(value)


def _figure(value: Any) -> Figure | SubFigure:
    if not isinstance(value, (Figure, SubFigure)):
        raise TypeError(value)
    return value


_OBJECT = Rule(_dataset, "a Dataset or DataArray of laion_xr", "open one with engine='laion_fmri'")
_WORDS = Rule(_caption, "text", "give text in quotes, or leave it out", True)
_VALUES = Rule(_values, "a variable's name or an array", "give one value a voxel", True)
_SHARED = {
    "obj": _OBJECT,
    "values": _VALUES,
    "reference": _VALUES,
    "train": _OBJECT,
    "test": _OBJECT,
    "threshold": distance(),
    "vmin": limit(),
    "vmax": limit(),
    "cmap": Rule(_colours, "a colour map or its name", "give one, as in 'viridis', or leave it out", True),
    "label": _WORDS,
    "title": _WORDS,
    "figure": Rule(_figure, "a figure or subfigure of matplotlib", "give an empty one, or leave it out", True),
    "width": inches(),
}
