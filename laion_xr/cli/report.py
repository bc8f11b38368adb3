"""`laion-xr report`: a subject on one page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from laion_xr.access.configuration import data_dir
from laion_xr.backend import locate
from laion_xr.catalog import Catalog
from laion_xr.cli.info import options
from laion_xr.cli.screen import emit_json, line, size_text, stderr
from laion_xr.report import write_report


def run(
    root: str | None,
    subject: str | None,
    output: Path | None,
    sections: Sequence[str],
    betas: bool,
    store: str | None,
    storage_options: Sequence[str],
    as_json: bool,
) -> None:
    """Write the report, and say where it is."""
    chosen = options(storage_options)
    if output is None:
        location, implied = locate(data_dir() if root is None else root, chosen)
        output = Path(f"{Catalog.scan(location).subject(subject or implied).subject}.html")
    names = [name.strip() for text in sections for name in text.split(",") if name.strip()]
    before = time.perf_counter()
    with stderr().status("Looking ...") as status:
        path = write_report(
            root,
            output,
            subject=subject,
            sections=names or None,
            betas=betas,
            store=store,
            storage_options=chosen,
            progress=lambda name: status.update(f"{name.capitalize()} ..."),
        )
    seconds, size = time.perf_counter() - before, path.stat().st_size
    if as_json:
        emit_json({"report": str(path), "size": size, "seconds": round(seconds, 2)})
    else:
        line(f"{path}: {size_text(size)}, in {seconds:.1f} s. Open it in a browser.")
