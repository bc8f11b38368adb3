"""Small files that are for their owner only, written whole or not at all. Imports nothing of the package."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 beside its place, and move it there; its folder must be there. Errors pass."""
    # mkstemp opens with mode 0600
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as target:
            target.write(data)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
