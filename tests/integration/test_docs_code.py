"""The Python code of the README and of the docs runs, a page at a time and in order, on a simulated dataset.

A page finds the dataset's folder as `root`. A block that cannot run says why in a comment on the line before it:
`<!-- not run: needs the network -->`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

import laion_xr
from laion_xr.schema import FIELDS, STIMULUS_FIELDS

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]

BLOCK = re.compile(r"(?P<skip><!-- not run: \S.*-->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)(?P<target>[^)#\s]+)")


class Block(NamedTuple):
    line: int  # where its code begins in the page
    code: str


def blocks(text: str) -> list[Block]:
    return [
        Block(text.count("\n", 0, m.start("code")) + 1, m["code"]) for m in BLOCK.finditer(text) if m["skip"] is None
    ]


def pages_with_code() -> list[Path]:
    return [page for page in PAGES if "_build" not in page.parts and blocks(page.read_text("utf-8"))]


def test_blocks_are_found_and_skipped() -> None:
    text = "a\n```python\nx = 1\n```\n\n<!-- not run: a reason -->\n```python\nx = 2\n```\n```bash\nls\n```\n"
    assert blocks(text) == [Block(3, "x = 1\n")]


@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_code_of_page_runs(page: Path, dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # pages write files
    namespace = {"root": str(dataset_root), "__name__": "__main__"}
    try:
        for block in blocks(page.read_text("utf-8")):
            # empty lines before it, so that a traceback shows the line of the page
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)
    finally:
        laion_xr.set_decode_budget(None)  # a page shows how to change it


def test_dataset_page_explains_every_variable() -> None:
    text = (REPOSITORY / "docs" / "dataset.md").read_text("utf-8")
    assert [name for name in FIELDS if f"`{name}`" not in text] == []
    text = text.partition("## Stimuli")[2].partition("\n## ")[0]
    assert [name for name in STIMULUS_FIELDS if f"| `{name}`" not in text] == []


def test_api_page_names_everything_public() -> None:
    text = (REPOSITORY / "docs" / "api.md").read_text("utf-8")
    assert [name for name in laion_xr.__all__ if not name.startswith("__") and name not in text] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_files_exist(name: str) -> None:
    targets = [m["target"] for m in LINK.finditer((REPOSITORY / name).read_text("utf-8"))]
    assert [t for t in targets if not (REPOSITORY / t).exists()] == []
