"""What is there under a root, as data: `laion-xr info` prints it, `doctor` judges it, the report shows it."""

from laion_xr.inventory.look import root_report
from laion_xr.inventory.reports import (
    FileReport,
    RoiReport,
    RootReport,
    SessionReport,
    StimuliReport,
    SubjectReport,
)

__all__ = ["FileReport", "RoiReport", "RootReport", "SessionReport", "StimuliReport", "SubjectReport", "root_report"]
