"""The layers of the package: imports point down only, and only `lazy/` touches inner names of xarray and dask."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import laion_xr

PACKAGE = Path(laion_xr.__file__).parent

# From the bottom up. A module may import what stands on a lower line, and, where the name is that of a folder, the
# others of its folder.
LEVELS = [
    ["errors", "schema", "layout", "_version", "progress", "quantities"],
    ["remote", "ranged", "listing"],
    ["address"],
    ["location"],
    ["readers", "access"],
    ["config"],
    ["stored"],
    ["catalog"],
    ["voxels", "rois", "masks"],
    ["labels", "trials"],
    ["sources"],
    ["lazy"],
    ["stimuli", "model", "indexes"],
    ["dataset"],
    ["analysis", "store"],
    ["space"],
    ["plot", "torch", "exports"],
    ["accessor"],
    ["backend"],
    ["simulate"],
    ["inventory"],
    ["report", "compat"],
    ["cli"],
    [""],  # laion_xr/__init__.py
]
# These import nothing of the package but this
NARROW = {
    "errors": set(),
    "schema": set(),
    "layout": set(),
    "quantities": set(),
    "voxels": {"errors", "schema", "readers.base"},
    "rois": {"errors", "schema", "readers.base"},
}
# numpy and pandas only: what they do can be tested, and used, without arrays of any kind
WITHOUT_XARRAY_AND_DASK = [
    "errors",
    "schema",
    "layout",
    "address",
    "ranged",
    "listing",
    "remote",
    "location",
    "readers",
    "catalog",
    "masks",
    "voxels",
    "rois",
    "labels",
    "trials",
    "stored",
    "sources",
    "access",
    "config",
    "progress",
    "quantities",
]
# Modules of xarray and dask that are public as they are documented
PUBLIC = {"xarray", "dask", "dask.array"}
# (module, what it imports): why it may
EXCEPTIONS = {
    ("backend", "xarray.backends"): "BackendEntrypoint, which every engine derives from",
    ("model", "dask.base"): "tokenize is documented there, and nowhere else",
    ("model", "dask.array.core"): "normalize_chunks is documented there, and nowhere else",
    ("analysis.encoding", "dask.delayed"): "delayed is imported from where it is typed",
    ("analysis.permutation", "dask.delayed"): "delayed is imported from where it is typed",
    ("analysis.rsa", "dask.delayed"): "delayed is imported from where it is typed",
    ("analysis.spheres", "dask.delayed"): "delayed is imported from where it is typed",
    ("plot.pixels", "dask.base"): "compute is imported from where it is typed",
    ("plot.pixels", "dask.delayed"): "delayed is imported from where it is typed",
    ("space.surfaces", "dask.delayed"): "delayed is imported from where it is typed",
    ("store.sessions", "dask.base"): "compute is imported from where it is typed",
    ("store.sessions", "dask.delayed"): "delayed is imported from where it is typed",
    ("cli.store", "dask.utils"): "parse_bytes is documented there, and nowhere else",
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
MOST_LINES = 500


class Import(NamedTuple):
    module: str  # that imports
    target: str  # dotted, of any package
    line: int


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str, source: str) -> Iterator[Import]:
    """Every module that a source imports, wherever in it, and every submodule that it reaches by attribute."""
    aliases: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
                aliases[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            package = node.module or ""
            for alias in node.names:
                dotted = f"{package}.{alias.name}"
                inside = dotted.removeprefix("laion_xr.") in MODULES
                yield Import(module, dotted if inside else package, node.lineno)
    for node in ast.walk(tree):
        # `import dask.array as da; da.core.normalize_chunks` reaches dask.array.core
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            inner = node.value
            if isinstance(inner.value, ast.Name) and aliases.get(inner.value.id) in PUBLIC:
                dotted = f"{aliases[inner.value.id]}.{inner.attr}"
                if inner.attr in ("core", "backends", "base", "highlevelgraph", "optimization", "utils"):
                    yield Import(module, dotted, node.lineno)


IMPORTS = [i for name, path in MODULES.items() for i in imports_of(name, path.read_text("utf-8"))]
OWN = [
    Import(i.module, i.target.removeprefix("laion_xr").removeprefix("."), i.line)
    for i in IMPORTS
    if i.target.partition(".")[0] == "laion_xr"
]


def level(module: str) -> int:
    found = [n for n, names in enumerate(LEVELS) if any(module == x or module.startswith(f"{x}.") for x in names if x)]
    if not found and module == "":
        return len(LEVELS) - 1
    assert found, f"laion_xr.{module} has no place in the layers: give it one in {Path(__file__).name}"
    return found[0]


def folder(module: str) -> str:
    return module.partition(".")[0]


def broken(imports: list[Import]) -> list[str]:
    """The arrows that point up or across."""
    return [
        f"laion_xr.{i.module}, line {i.line}: imports laion_xr.{i.target}"
        for i in imports
        if level(i.target) >= level(i.module) and not (folder(i.target) == folder(i.module) and i.module)
    ]


def inner(imports: list[Import]) -> list[str]:
    """What reaches into xarray and dask outside `lazy/`."""
    return [
        f"laion_xr.{i.module}, line {i.line}: {i.target}"
        for i in imports
        if i.target.partition(".")[0] in ("xarray", "dask")
        and i.target not in PUBLIC
        and folder(i.module) != "lazy"
        and (i.module, i.target) not in EXCEPTIONS
    ]


def test_imports_point_down() -> None:
    assert broken(OWN) == []


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for i in OWN:
        if i.target != i.module:
            graph[i.module].add(i.target)
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", NARROW)
def test_modules_at_the_bottom_import_next_to_nothing(module: str) -> None:
    assert {i.target for i in OWN if i.module == module} <= NARROW[module]


def test_below_lazy_there_is_no_xarray_and_no_dask() -> None:
    assert [
        i
        for i in IMPORTS
        if folder(i.module) in WITHOUT_XARRAY_AND_DASK and i.target.partition(".")[0] in ("xarray", "dask")
    ] == []
    below = {name for names in LEVELS[: level("lazy")] for name in names}
    assert {folder(name) for name in below} - {"_version"} == set(WITHOUT_XARRAY_AND_DASK)


def test_only_lazy_touches_inner_names_of_xarray_and_dask() -> None:
    assert inner(IMPORTS) == []


def test_exceptions_are_still_needed() -> None:
    assert set(EXCEPTIONS) - {(i.module, i.target) for i in IMPORTS} == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_is_not_too_long_and_has_a_name_that_says_something(module: str) -> None:
    assert not FORBIDDEN_NAMES & set(module.split("."))
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_holds(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text("utf-8")))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("catalog", "from laion_xr.dataset import subject_dataset"),
        ("catalog", "def f():\n    from laion_xr import dataset"),
        ("readers.nifti", "import laion_xr.catalog"),
        ("voxels", "from laion_xr import rois"),
        ("lazy.array", "from laion_xr.stimuli import stimuli_dataset"),
        ("stimuli", "from laion_xr import __version__"),
    ],
)
def test_an_arrow_that_points_up_is_seen(module: str, source: str) -> None:
    found = [i._replace(target=i.target.removeprefix("laion_xr").removeprefix(".")) for i in imports_of(module, source)]
    assert len(broken(found)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from xarray.core import indexing",
        "import xarray.core.variable",
        "from xarray.backends import CachingFileManager",
        "from dask.highlevelgraph import HighLevelGraph",
        "import xarray as xr\nx = xr.core.variable.Variable",
        "import dask.array as da\nda.core.slices_from_chunks",
    ],
)
def test_an_inner_name_is_seen(source: str) -> None:
    assert len(inner(list(imports_of("dataset", source)))) == 1
