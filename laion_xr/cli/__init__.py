"""The command line `laion-xr`: thin over the library.

`commands`, `store_commands` and `report_commands` spell arguments and help, and start fast; what a command does lies in
a module of its own (`info`, `demo`, `simulate`, `store`, `report`), loaded when the command runs; `screen` prints and
turns errors into sentences.
"""

from laion_xr.cli import access_commands as _access_commands  # noqa: F401 - adds its commands to the app
from laion_xr.cli import download_commands as _download_commands  # noqa: F401 - adds its commands to the app
from laion_xr.cli import report_commands as _report_commands  # noqa: F401 - adds its command to the app
from laion_xr.cli import store_commands as _store_commands  # noqa: F401 - adds its commands to the app
from laion_xr.cli.commands import app

__all__ = ["app"]
