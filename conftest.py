"""Fixtures for all tests: a simulated dataset, made once a process, and the folder of shared files if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import laion_xr

REPOSITORY = Path(__file__).parent


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small simulated dataset: two subjects, three sessions each. Read it, never write into it."""
    root = tmp_path_factory.mktemp("laion")
    laion_xr.simulate(root, subjects=["sub-01", "sub-03"], seed=0)
    return root


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's folder of shared files (published splits, the battery), or a skip."""
    folder = Path(os.environ.get("LAION_XR_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the project's shared files; there is no folder {folder} (set LAION_XR_SHARED)")
    return folder
