"""A subject on one page: an HTML file that needs nothing else, no network and no server.

`write_report` looks at a root or a Dataset (`subject`), makes the sections (`sections`, with the pictures of `figures`
and of `laion_xr.plot`), renders them (`page`, `pictures`, and the files in `template`), and writes the file (`build`).
A section that cannot be made says why.
"""

from laion_xr.report.build import write_report
from laion_xr.report.sections import SECTIONS

__all__ = ["SECTIONS", "write_report"]
