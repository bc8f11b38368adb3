"""`laion-xr download-stimuli`: the images, which are given under an agreement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from laion_xr.access.gated import download_stimuli
from laion_xr.cli.download import interrupted
from laion_xr.cli.screen import emit_json, line, size_text


def run(
    root: Path | None,
    details: Mapping[str, str | None],
    accepted: bool,
    access_url: str | None,
    progress: bool,
    as_json: bool,
) -> None:
    """Fetch the images, and print what is there.

    Raises
    ------
    typer.Exit
        130, after Ctrl-C, which says how to go on.
    """
    try:
        files = download_stimuli(
            root, **details, accept_licenses=accepted, access_url=access_url, progress=progress and not as_json
        )
    except KeyboardInterrupt:
        raise interrupted() from None
    if as_json:
        emit_json({name: {"path": str(path), "size": path.stat().st_size} for name, path in files.items()})
        return
    for path in files.values():
        line(f"{path} ({size_text(path.stat().st_size)})")
