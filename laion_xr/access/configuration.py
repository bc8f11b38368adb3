"""The configured folders: environment variables, then the published loader's own configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path

from platformdirs import user_cache_dir

from laion_xr.errors import DataDirNotSetError

DATA_DIR_VARIABLE = "LAION_XR_DATA_DIR"
STORE_VARIABLE = "LAION_XR_STORE"
CACHE_VARIABLE = "LAION_XR_CACHE"


def published_config_path() -> Path:
    """Return where the published loader keeps its configuration."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return Path(home) / "laion_fmri" / "config.json"


def data_dir() -> str:
    """Return the configured data folder or address.

    `LAION_XR_DATA_DIR` wins; else the data directory of the published loader's configuration.

    Raises
    ------
    DataDirNotSetError
        Neither names one.
    """
    if value := os.environ.get(DATA_DIR_VARIABLE):
        return value
    path = published_config_path()
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("data_dir")
    except (OSError, ValueError, AttributeError):
        value = None
    if value:
        return str(value)
    raise DataDirNotSetError(
        f"No data folder is configured: set the environment variable {DATA_DIR_VARIABLE} to the folder that holds "
        f"'derivatives', or pass that folder itself ({path} names none either)."
    )


def cache_dir() -> Path:
    """Return the cache folder: `LAION_XR_CACHE`, or where the system keeps such things."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_dir("laion-xr")).expanduser().absolute()


def store_dir() -> str | None:
    """Return the configured store (`LAION_XR_STORE`), or None."""
    return os.environ.get(STORE_VARIABLE) or None
