"""ROI grammar, set algebra, and membership strings. numpy and pandas only.

A voxel's membership is the names of every ROI that holds it, joined by `+`. Queries are answered on the few
hundred distinct memberships, not on the voxels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from laion_xr.errors import SelectionError, unknown_label
from laion_xr.readers.base import IntArray
from laion_xr.schema import ROI_SEPARATOR

Categories = Mapping[str, Sequence[str]]

# Used when no ROI and no category has the name
ALIASES = {"V1": "V1d | V1v", "V2": "V2d | V2v", "V3": "V3d | V3v", "visual": "all"}

_TOKEN = re.compile(r"\s*(?:(?P<operator>[|&()-])|(?P<name>[^\s|&()-]+))")


def membership(rois: Mapping[str, IntArray], voxels: IntArray) -> npt.NDArray[np.object_]:
    """Return the membership string of each voxel, `(voxel,)`, names in alphabetical order.

    `rois` are C-order flat grid ids of each ROI; those that `voxels` (increasing) lack are left out.
    """
    codes = np.zeros(len(voxels), dtype=np.int64)
    names: list[str] = [""]
    for roi in sorted(rois, key=lambda name: (name.lower(), name)):
        where = np.flatnonzero(np.isin(voxels, rois[roi], assume_unique=True))
        if not len(where):
            continue
        old, new = np.unique(codes[where], return_inverse=True)
        codes[where] = len(names) + new
        names += [f"{names[c]}{ROI_SEPARATOR}{roi}".removeprefix(ROI_SEPARATOR) for c in old]
    return np.array(names, dtype=object)[codes]


def roi_names(categories: Categories) -> list[str]:
    """Return the names of all ROIs, in the order of their categories."""
    return [name for names in categories.values() for name in names]


class RoiQuery:
    """Answers ROI queries on a list of membership strings.

    Parameters
    ----------
    memberships
        The distinct membership strings.
    categories
        Category -> names of its ROIs, the empty ones included. Names that only the memberships know count too.
    """

    def __init__(self, memberships: Iterable[str], categories: Categories) -> None:
        self._texts = [str(text) for text in memberships]
        self._sets = [frozenset(text.split(ROI_SEPARATOR)) - {""} for text in self._texts]
        self._categories = {name: tuple(rois) for name, rois in categories.items()}
        self._rois = set(roi_names(self._categories)).union(*self._sets)

    def match(self, query: object) -> npt.NDArray[np.bool_]:
        """Return which memberships a query names: a string, or a list of strings (their union).

        A string is an ROI, a category, `"all"`, an alias, set algebra on them (`|` union, `&` intersection, `-`
        difference, parentheses; `-` binds tighter than `&`, and `&` than `|`, as in Python), a membership string as
        the coordinate shows it (`"FFA1+V1v"`: just those voxels), or `""` (voxels of no ROI).

        Raises
        ------
        UnknownLabelError
            A name that is neither ROI nor category nor alias; the message has the closest ones.
        SelectionError
            Not a string, or an expression that does not parse.
        """
        if isinstance(query, str):
            return self._string(query)
        if isinstance(query, slice) or not isinstance(query, Iterable):
            raise SelectionError(
                f"An ROI is selected by a name, a category, 'all', an expression or a list of them; found {query!r}."
            )
        found = np.zeros(len(self._texts), dtype=bool)
        for part in query:
            if not isinstance(part, str):
                raise SelectionError(f"A list of ROIs holds names, found {part!r} ({type(part).__name__}).")
            found |= self._string(part)
        return found

    def _string(self, text: str) -> npt.NDArray[np.bool_]:
        if text in self._rois or text in self._categories or text == "all":
            return self._name(text)
        if text.strip() == "" or (ROI_SEPARATOR in text and set(text.split(ROI_SEPARATOR)) <= self._rois):
            wanted = frozenset(text.strip().split(ROI_SEPARATOR)) - {""}
            return np.array([members == wanted for members in self._sets], dtype=bool)
        return _Expression(text, self._name).value()

    def _name(self, name: str) -> npt.NDArray[np.bool_]:
        if name in self._rois:
            wanted = {name}
        elif name in self._categories:
            wanted = set(self._categories[name])
        elif name == "all":
            wanted = self._rois
        elif name in ALIASES:
            return self._alias(name)
        else:
            known = [*self._categories, "all", *sorted(self._rois)]
            raise unknown_label("ROI or category", name, known)
        return np.array([not wanted.isdisjoint(members) for members in self._sets], dtype=bool)

    def _alias(self, name: str) -> npt.NDArray[np.bool_]:
        parts = [part.strip() for part in ALIASES[name].split("|")]
        known = [part for part in parts if part in self._rois or part == "all"]
        if not known:
            raise unknown_label("ROI or category", name, [*self._categories, "all", *sorted(self._rois)])
        return np.asarray(np.logical_or.reduce([self._name(part) for part in known]))


class _Expression:
    """Recursive descent over `|`, `&`, `-` and parentheses."""

    def __init__(self, text: str, lookup: Callable[[str], npt.NDArray[np.bool_]]) -> None:
        self._text, self._lookup = text, lookup
        self._tokens = self._tokenize(text)
        self._at = 0

    @staticmethod
    def _tokenize(text: str) -> list[tuple[str, str]]:
        return [(str(m.lastgroup), m[str(m.lastgroup)]) for m in _TOKEN.finditer(text.rstrip())]

    def value(self) -> npt.NDArray[np.bool_]:
        found = self._union()
        if self._at < len(self._tokens):
            raise self._error(f"an operator before {self._tokens[self._at][1]!r}")
        return found

    def _operator(self, wanted: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("operator", wanted):
            self._at += 1
            return True
        return False

    def _union(self) -> npt.NDArray[np.bool_]:
        found = self._intersection()
        while self._operator("|"):
            found = found | self._intersection()
        return found

    def _intersection(self) -> npt.NDArray[np.bool_]:
        found = self._difference()
        while self._operator("&"):
            found = found & self._difference()
        return found

    def _difference(self) -> npt.NDArray[np.bool_]:
        found = self._operand()
        while self._operator("-"):
            found = found & ~self._operand()
        return found

    def _operand(self) -> npt.NDArray[np.bool_]:
        if self._operator("("):
            found = self._union()
            if not self._operator(")"):
                raise self._error("a closing parenthesis")
            return found
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != "name":
            raise self._error("the name of an ROI or category")
        name = self._tokens[self._at][1]
        self._at += 1
        return self._lookup(name)

    def _error(self, expected: str) -> SelectionError:
        return SelectionError(f"The ROI expression {self._text!r} does not parse: expected {expected}.")
