"""The command of the report, its arguments and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_xr.cli.commands import Debug, Json, LookedAt, app, examples, load
from laion_xr.cli.screen import reporting


@app.command(
    epilog=examples(
        "laion-xr report my-data sub-03",
        "laion-xr report my-data sub-03 -o sub-03.html --store my-data.zarr --betas",
        "laion-xr report s3://laion-fmri sub-03 --storage-option anon=true",
    )
)
def report(
    context: typer.Context,
    root: LookedAt = None,
    subject: Annotated[
        str | None,
        typer.Argument(help="A subject (sub-03, 03 or 3); it may be left out where there is one.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file, `.html`; replaced where it is there. [default: SUBJECT.html here]",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    section: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these: `overview`, `sessions`, `trials`, `ceiling`, `r2`, `rois`, `betas`, `stimuli`, `files`, "
            "`python`, `provenance`; repeatable, or with commas. [default: all]",
            metavar="NAMES",
            show_default=False,
        ),
    ] = None,
    betas: Annotated[
        bool, typer.Option("--betas", help="Also draw the betas, which reads all of them: minutes without a store.")
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            help="A store made by `laion-xr ingest`; that of LAION_XR_STORE where it is left out.",
            metavar="STORE",
            show_default=False,
        ),
    ] = None,
    storage_option: Annotated[
        list[str] | None,
        typer.Option(
            "--storage-option",
            help="Option of the file system, for an address; repeatable.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write what there is of a subject as one HTML page: sessions, trials, noise ceilings, ROIs, missing files.

    The page opens in any browser, without a network. Betas are not read, unless asked for; pictures of stimuli are
    never in it.
    """
    with reporting(debug or bool(context.obj)):
        load("report").run(root, subject, output, section or [], betas, store, storage_option or [], json)
