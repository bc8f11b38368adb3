"""`laion-xr config`: what is set, where it comes from, and the file that keeps it."""

from __future__ import annotations

import typer

from laion_xr import config
from laion_xr.access.configuration import KEYS, check_key, is_folder, read_file
from laion_xr.cli.screen import FAILED, emit_json, line, stderr
from laion_xr.errors import ConfigurationError
from laion_xr.location import Location
from laion_xr.stored import no_store


def show(as_json: bool) -> None:
    """Print every setting, and where it comes from."""
    found = config.settings()
    if as_json:
        values = {name: {"value": setting.value, "origin": setting.origin} for name, setting in found.items()}
        emit_json({"path": str(config.path()), "settings": values})
        return
    # no table: a path that it breaks cannot be copied
    width = max(map(len, found))
    for name, setting in found.items():
        value = setting.value and f"{setting.value}  "
        origin = "the file" if setting.origin == str(config.path()) else setting.origin
        line(f"{name:<{width}}  {value or ''}({origin})")
    line(f"File: {config.path()}{'' if config.path().exists() else ' (not there yet)'}")


def get(name: str) -> None:
    """Print one setting; leave with code 1 where nothing sets it."""
    value = config.get(name)
    if value is None:
        line(f"{name} is not set: `laion-xr config set {name} VALUE`, or {KEYS[name].variable}.", console=stderr())
        raise typer.Exit(FAILED)
    line(value)


def change(name: str, value: str, create: bool) -> None:
    """Keep a setting in the file; say so where something stronger hides it."""
    check_key(name)
    if not value.strip():
        raise ConfigurationError(f"{name} needs a value, found none; `laion-xr config unset {name}` removes it.")
    if name == "data_dir" and is_folder(value):
        config.dataset_initialize(value, create=create)
    else:
        config.save(**{name: value})
    setting = config.settings()[name]
    line(f"{name} = {read_file()[name]} ({config.path()})")
    if name == "store" and is_folder(value) and (problem := no_store(Location.of(read_file()[name]))) is not None:
        line(f"Note: {problem}; `laion-xr ingest ROOT {read_file()[name]}` makes one.", "yellow", stderr())
    if setting.origin != str(config.path()):
        line(f"Note: {setting.value}, from {setting.origin}, wins over it.", "yellow", stderr())


def unset(name: str) -> None:
    """Remove a setting from the file; say what holds instead."""
    config.save(**{name: None})
    setting = config.settings()[name]
    line(f"{name} is {setting.value} now, from {setting.origin}." if setting.value else f"{name} is not set now.")


def path() -> None:
    """Print the path of the file."""
    line(str(config.path()))
