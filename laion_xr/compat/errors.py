"""The five errors of the published loader's documentation, which are those of laion_xr."""

from laion_xr.errors import (
    DataDirNotSetError,
    DataNotDownloadedError,
    LicenseNotAcceptedError,
    SelectionError,
    StimuliNotDownloadedError,
    SubjectNotFoundError,
)

__all__ = [
    "DataDirNotSetError",
    "DataNotDownloadedError",
    "LicenseNotAcceptedError",
    "StimuliNotDownloadedError",
    "SubjectNotFoundError",
]


class ArgumentTypeError(SelectionError, TypeError):
    """An argument of a type that means nothing here: a `TypeError`, and a `ValueError` as any other wrong argument."""


class SubjectNameTypeError(SubjectNotFoundError, TypeError):
    """A subject that is not named by a string: the published code has a TypeError, its documentation the other."""
