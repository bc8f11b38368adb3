"""The configuration: the data folder, the store, the cache folder, and the service that gives access to the images.

A value is taken from the first of these that has one: `set` (a block of this thread or task, else the process), the
environment (`LAION_XR_DATA_DIR`, `LAION_XR_STORE`, `LAION_XR_CACHE`, `LAION_XR_ACCESS_URL`), the file `path()`, what
users of the published loader have (`LAION_FMRI_ROOT`, `LAION_FMRI_DATA`, its `config.json`), the default. An argument
of a function wins over all of them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from contextvars import Token
from pathlib import Path
from types import TracebackType

from laion_xr.access import configuration
from laion_xr.access.configuration import Setting
from laion_xr.errors import ConfigurationError, NotALaionDatasetError

__all__ = ["Setting", "dataset_initialize", "get", "path", "save", "set", "settings"]


def get(name: str) -> str | None:
    """Return the value of a setting, or None where nothing sets it.

    Parameters
    ----------
    name
        `"data_dir"`, `"store"`, `"cache_dir"` or `"access_url"`.

    Raises
    ------
    ConfigurationError
        No such setting, or the configuration file is broken.

    Examples
    --------
    >>> import laion_xr
    >>> with laion_xr.config.set(store="my-data.zarr"):
    ...     laion_xr.config.get("store")
    'my-data.zarr'
    """
    return configuration.lookup(name).value


def settings() -> dict[str, Setting]:
    """Return every setting with its value and where that comes from; nothing secret is among them.

    Raises
    ------
    ConfigurationError
        The configuration file is broken.
    """
    return {name: configuration.lookup(name) for name in configuration.KEYS}


def path() -> Path:
    """Return the configuration file of this package, in the platform's folder for such; it need not exist."""
    return configuration.config_path()


class set:
    """Change settings for this process, or, in a `with` statement, for the block.

    In a block they hold for the thread (or the asyncio task) that runs it, and for nobody else. They are not sent to
    workers of a cluster, and need not be: what is opened carries its addresses with it. None means that nothing is set:
    `set(store=None)` reads without the configured store. Nothing is written: `save` does.

    Parameters
    ----------
    data_dir
        Folder or address of the dataset.
    store
        Folder or address of the store.
    cache_dir
        Folder for what can be made or fetched again.
    access_url
        Address of the service that gives access to the images.

    Raises
    ------
    ConfigurationError
        No such setting, or a value that is neither a path nor text.

    Examples
    --------
    >>> import laion_xr
    >>> with laion_xr.config.set(data_dir="my-data"):
    ...     laion_xr.config.get("data_dir")
    'my-data'
    """

    def __init__(self, **values: str | os.PathLike[str] | None) -> None:
        self._layer = configuration.Layer({name: configuration.as_text(name, v) for name, v in values.items()})
        self._tokens: list[Token[tuple[configuration.Layer, ...]]] = []
        configuration.PROCESS.append(self._layer)

    def __enter__(self) -> set:
        # from the process to this block; entered again, it is the block's alone already
        if self._layer in configuration.PROCESS:
            configuration.PROCESS.remove(self._layer)
        self._tokens.append(configuration.BLOCKS.set((*configuration.BLOCKS.get(), self._layer)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        configuration.BLOCKS.reset(self._tokens.pop())

    def __repr__(self) -> str:
        return f"laion_xr.config.set({', '.join(f'{name}={value!r}' for name, value in self._layer.values.items())})"


def save(**values: str | os.PathLike[str] | None) -> Path:
    """Keep settings in the configuration file; None removes one. Returns the file.

    Folders are kept as absolute paths. The file is replaced as a whole, never half written.

    Raises
    ------
    ConfigurationError
        No such setting, a value that is neither a path nor text, or a file that is broken or cannot be written.
    """
    return configuration.write_file({name: configuration.as_text(name, value) for name, value in values.items()})


def dataset_initialize(path: str | os.PathLike[str], *, create: bool = False) -> None:
    """Make a folder the data folder, for this and all later sessions.

    As that of the published loader: the folder has to exist, so that a typo does not scatter data. A folder
    `.laion_fmri` for what both loaders note there is made in it.

    Parameters
    ----------
    path
        The folder; it may be empty, to download into.
    create
        Make the folder where there is none.

    Raises
    ------
    TypeError
        Not a path.
    NotALaionDatasetError
        The folder does not exist (a `FileNotFoundError`), or is a file.
    ConfigurationError
        An address, an empty text, or a configuration file that is broken or cannot be written.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a string or a path, got {type(path).__name__}")
    text = os.fsdecode(path)
    if not text.strip():
        raise ConfigurationError("The data folder is an empty text: expected a path, such as '/data/laion'.")
    if not configuration.is_folder(text):
        raise ConfigurationError(
            f"{text} is an address, and the data are initialized in a folder of this machine; to read from there, "
            f"laion_xr.config.save(data_dir={text!r})."
        )
    folder = Path(text).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise NotALaionDatasetError(f"The data folder {folder} is a file: expected a folder, empty or with data.")
    if create:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise NotALaionDatasetError(
                f"The data folder {folder} cannot be made: a file is where one of its folders belongs; choose another."
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"The data folder {folder} cannot be made ({error.strerror}): choose another, or get permission."
            ) from None
    if not folder.is_dir():
        raise NotALaionDatasetError(
            f"The data folder {folder} does not exist: expected a folder, empty or with data; create it, or pass "
            "create=True."
        )
    # a shared dataset may be read only, and is as good
    with suppress(PermissionError):
        (folder / configuration.STATE_FOLDER).mkdir(exist_ok=True)
    save(data_dir=folder)
