"""The command line `laion-xr`: thin over the library.

`commands` spells arguments and help, and starts fast; what a command does lies in a module of its own (`info`, `demo`,
`simulate`), loaded when the command runs; `screen` prints and turns errors into sentences.
"""

from laion_xr.cli.commands import app

__all__ = ["app"]
