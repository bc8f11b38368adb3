"""Small files of their owner's: whole or not there, mode 0600."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from laion_xr.access.private import write_private


def test_written_for_its_owner_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_bytes(b"before")
    path.chmod(0o644)
    write_private(path, b"after")
    assert path.read_bytes() == b"after"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"before")

    def fails(*args: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no room"):
        write_private(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
