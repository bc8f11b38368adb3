"""`dataset_initialize` and `get_data_dir` of the published loader, on the configuration of laion_xr."""

from __future__ import annotations

from pathlib import Path

from laion_xr import config
from laion_xr.access.configuration import data_dir

__all__ = ["dataset_initialize", "get_data_dir"]


def dataset_initialize(path: str) -> None:
    """Make a folder the data folder, for this process and later ones.

    As in the published loader, the folder has to exist. The call wins in this process, even where the environment
    (`LAION_XR_DATA_DIR`) names another folder.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    TypeError
        `path` is not a string.
    NotALaionDatasetError
        The folder does not exist (a `FileNotFoundError`).

    Examples
    --------
    >>> dataset_initialize("./laion_fmri_data")  # doctest: +SKIP
    """
    if not isinstance(path, str):
        raise TypeError(f"path must be a string, got {type(path).__name__}")
    config.dataset_initialize(path)
    kept = config.settings()["data_dir"]
    if kept.value is not None and kept.origin != str(config.path()):
        # the environment, or a call before this one, says something else
        config.set(data_dir=Path(path).expanduser().absolute())


def get_data_dir() -> str:
    """Return the configured data folder.

    Raises
    ------
    DataDirNotSetError
        None is configured; the message says all the ways to.
    """
    return data_dir(must_exist=False)
