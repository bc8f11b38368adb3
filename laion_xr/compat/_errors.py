"""The errors under the name of the module that the published documentation tells: see `laion_xr.compat.errors`."""

from laion_xr.compat.errors import (
    DataDirNotSetError,
    DataNotDownloadedError,
    LicenseNotAcceptedError,
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
