"""The configured folders and addresses: where each may be set, which place wins, and the file that keeps them.

From the strongest: `config.set` (a block, else the process), the environment, this package's file, then what users of
the published loader have: the variables of its scripts, and its own file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_path, user_config_path

from laion_xr.access.private import write_private
from laion_xr.errors import ConfigurationError, DataDirNotSetError, NotALaionDatasetError, did_you_mean

DATA_DIR_VARIABLE = "LAION_XR_DATA_DIR"
STORE_VARIABLE = "LAION_XR_STORE"
CACHE_VARIABLE = "LAION_XR_CACHE"
ACCESS_URL_VARIABLE = "LAION_XR_ACCESS_URL"

# Where the published loader's documentation sends its users
PUBLISHED_ACCESS_URL = "https://laion-fmri.hebartlab.com"
STATE_FOLDER = ".laion_fmri"


class Key(NamedTuple):
    """A setting: what it is, the variable that sets it, and variables of the published loader's users."""

    meaning: str
    variable: str
    inherited: tuple[str, ...] = ()


KEYS: Mapping[str, Key] = {
    "data_dir": Key(
        "folder or address of the dataset, which holds `derivatives`",
        DATA_DIR_VARIABLE,
        ("LAION_FMRI_ROOT", "LAION_FMRI_DATA"),
    ),
    "store": Key("folder or address of the store", STORE_VARIABLE),
    "cache_dir": Key("folder for what can be made or fetched again", CACHE_VARIABLE),
    "access_url": Key(
        "address of the service that gives access to the images", ACCESS_URL_VARIABLE, ("LAION_FMRI_ACCESS_URL",)
    ),
}


class Setting(NamedTuple):
    """A value, and where it comes from; None and `"not set"` where it comes from nowhere."""

    name: str
    value: str | None
    origin: str


@dataclass(frozen=True, eq=False)
class Layer:
    """Values set from Python; two with the same values are two."""

    values: Mapping[str, str | None]


# Of the process, and of the block of the thread or task that runs: a block is nobody else's
PROCESS: list[Layer] = []
BLOCKS: ContextVar[tuple[Layer, ...]] = ContextVar("laion_xr_configuration", default=())


def config_path() -> Path:
    """Return this package's configuration file; it need not exist."""
    return user_config_path("laion-xr", appauthor=False) / "config.json"


def published_config_path() -> Path:
    """Return where the published loader keeps its configuration."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return Path(home) / "laion_fmri" / "config.json"


def check_key(name: object, where: str = "") -> None:
    """Raise for a setting that does not exist, naming those that do.

    Raises
    ------
    ConfigurationError
        There is no such setting.
    """
    # what cannot be hashed is no name either
    if not isinstance(name, str) or name not in KEYS:
        raise ConfigurationError(f"{where}{did_you_mean('The setting', name, KEYS)}")


def as_text(name: str, value: object) -> str | None:
    """Return a value as it is kept: text, or None.

    Raises
    ------
    ConfigurationError
        No such setting, or not a folder or an address.
    """
    check_key(name)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise ConfigurationError(f"{name} is {KEYS[name].meaning}: expected a path or text, found {value!r}.")


def is_folder(value: str) -> bool:
    """Whether a value names a folder of this machine, and not an address (`s3://...`)."""
    return "://" not in value and "::" not in value


def lookup(name: str) -> Setting:
    """Return a setting, and where it comes from.

    Raises
    ------
    ConfigurationError
        No such setting, or the configuration file is broken.
    """
    check_key(name)
    key = KEYS[name]
    for layer in reversed((*PROCESS, *BLOCKS.get())):
        if name in layer.values:
            return Setting(name, layer.values[name], "laion_xr.config.set")
    if value := os.environ.get(key.variable):
        return Setting(name, value, f"the environment variable {key.variable}")
    if value := read_file().get(name):
        return Setting(name, value, str(config_path()))
    for variable in key.inherited:
        if value := os.environ.get(variable):
            return Setting(name, value, f"the environment variable {variable}")
    if name == "data_dir" and (value := _published_data_dir()):
        return Setting(name, value, f"the published loader's {published_config_path()}")
    default = {"cache_dir": str(user_cache_path("laion-xr")), "access_url": PUBLISHED_ACCESS_URL}.get(name)
    return Setting(name, default, "not set" if default is None else "the default")


def data_dir(must_exist: bool = True) -> str:
    """Return the configured data folder or address.

    Parameters
    ----------
    must_exist
        Whether a folder of this machine has to be there.

    Raises
    ------
    DataDirNotSetError
        None is configured; the message says all the ways to.
    NotALaionDatasetError
        The configured folder does not exist.
    ConfigurationError
        The configuration file is broken.
    """
    _, value, origin = lookup("data_dir")
    if value is None:
        variables = " or ".join(KEYS["data_dir"].inherited)
        raise DataDirNotSetError(
            "No data folder is configured: set the folder (or address) that holds 'derivatives' in one of these ways: "
            "pass it as the first argument; once for all, laion_xr.config.dataset_initialize('/path') or "
            "`laion-xr config set data_dir /path`; for this process or a block, laion_xr.config.set(data_dir='/path'); "
            f"the environment variable {DATA_DIR_VARIABLE}; or, as the published loader has it, {variables}, or "
            f"'data_dir' in {published_config_path()}."
        )
    if not is_folder(value):
        return value
    folder = os.path.expanduser(value)
    if must_exist and not os.path.isdir(folder):
        raise NotALaionDatasetError(
            f"The data folder {folder} does not exist (it is set by {origin}): create it, mount its disk, or set "
            "another with `laion-xr config set data_dir /path`."
        )
    return folder


def folder_of(root: str | os.PathLike[str] | None) -> Path:
    """Return the folder to download into: what is given, else the configured one.

    Raises
    ------
    NotALaionDatasetError
        It is an address.
    DataDirNotSetError
        None is given, none configured.
    ConfigurationError
        It is an empty text, or no path.
    """
    if root is not None and not isinstance(root, (str, os.PathLike)):
        raise ConfigurationError(f"root={root!r} is not understood: expected the path of a folder to download into.")
    named = os.fsdecode(root) if root is not None else data_dir(must_exist=False)
    if not named.strip():
        raise ConfigurationError(
            "root is an empty text: expected the path of a folder to download into ('.' for this one); leave it out "
            "for the configured one."
        )
    if not is_folder(named):
        raise NotALaionDatasetError(f"{named} is an address: expected a folder of this machine to download into.")
    return Path(named).expanduser().absolute()


def cache_dir() -> Path:
    """Return the cache folder: the configured one, or where the system keeps such things."""
    return Path(lookup("cache_dir").value or user_cache_path("laion-xr")).expanduser().absolute()


def store_dir() -> str | None:
    """Return the configured store, or None."""
    value = lookup("store").value
    return os.path.expanduser(value) if value is not None and is_folder(value) else value


def access_url() -> str:
    """Return the address of the access service, without a slash at its end."""
    return (lookup("access_url").value or PUBLISHED_ACCESS_URL).rstrip("/")


def read_file() -> dict[str, str]:
    """Return what this package's file says; nothing where there is none.

    Raises
    ------
    ConfigurationError
        It cannot be read, is not a JSON object of texts, or has a key that does not exist.
    """
    path = config_path()
    way_out = "repair it, or delete it and set anew what you need (`laion-xr config set`)"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The configuration {path} cannot be read ({error}): {way_out}.") from None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"The configuration {path} is not JSON ({error}): {way_out}.") from None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"The configuration {path} holds a {type(found).__name__}: expected a JSON object; {way_out}."
        )
    for name, value in found.items():
        check_key(name, f"The configuration {path} cannot be used: ")
        if not isinstance(value, str):
            raise ConfigurationError(
                f"The configuration {path} has {name} = {json.dumps(value)}: expected a text; {way_out}."
            )
    return found


def write_file(values: Mapping[str, str | None]) -> Path:
    """Change values in this package's file, and remove those that are None; folders become absolute.

    Raises
    ------
    ConfigurationError
        The file cannot be written, or what is there is broken: it is not overwritten.
    """
    kept: dict[str, str] = read_file()
    for name, value in values.items():
        check_key(name)
        if value is None:
            kept.pop(name, None)
        elif is_folder(value) and name != "access_url":
            kept[name] = os.path.abspath(os.path.expanduser(value))
        else:
            kept[name] = value
    path = config_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, (json.dumps(kept, indent=2) + "\n").encode())
    except OSError as error:
        raise ConfigurationError(
            f"The configuration {path} cannot be written ({error}): make room or get permission, or use the "
            f"environment variables ({', '.join(key.variable for key in KEYS.values())})."
        ) from None
    return path


def _published_data_dir() -> str | None:
    # a broken file of another program is that program's to complain of
    try:
        found = json.loads(published_config_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = found.get("data_dir") if isinstance(found, dict) else None
    return value if isinstance(value, str) and value else None
