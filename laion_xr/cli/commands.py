"""The commands, their arguments and their help. Nothing heavy is imported here: each command loads its own module."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from laion_xr._version import __version__
from laion_xr.cli.screen import reporting


def examples(*lines: str) -> str:
    """Return the end of a help text: a list, in the Markdown that typer renders."""
    return "\n\n".join(["Examples:", *(f"`{line}`" for line in lines)])


app = typer.Typer(
    name="laion-xr",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output, and nothing else there.")]
LookedAt = Annotated[
    str | None,
    typer.Argument(
        help="Folder or address that holds `derivatives`, a subject's folder, or a bare subject; "
        "the configured data folder where it is left out.",
        show_default=False,
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def load(module: str) -> ModuleType:
    """Import the module that does the work of a command: only now, so that `--help` starts without xarray."""
    return importlib.import_module(f"laion_xr.cli.{module}")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"laion-xr {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Open the LAION-fMRI dataset as labelled, lazy xarray Datasets.

    Start with `laion-xr demo`. In Python:
    `xarray.open_dataset(root, engine="laion_fmri", subject="sub-03")`.
    """
    context.obj = debug


@app.command(epilog=examples("laion-xr demo", "laion-xr demo --output accuracy.pdf"))
def demo(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the simulated dataset: empty, missing, or of an earlier demo.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where to save the picture (.png, .pdf, .svg, .jpg); in the cache folder where left out.",
            metavar="PICTURE",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Simulate a small dataset, open it, predict its responses, draw a picture: a few seconds.

    A ridge from CLIP features is fitted on images that one subject saw, tested on images that all subjects saw, and
    compared with the noise ceiling, ROI by ROI. The data are simulated: they show how it works, nothing about brains.
    They stay in a cache folder (LAION_XR_CACHE chooses another), so that a second run is faster.
    """
    with reporting(debug or bool(context.obj)):
        load("demo").run(root, output, json)


@app.command(
    epilog=examples(
        "laion-xr info my-data",
        "laion-xr info my-data sub-03 --json",
        "laion-xr info s3://laion-fmri sub-03 -o anon=true",
    )
)
def info(
    context: typer.Context,
    root: LookedAt = None,
    subject: Annotated[
        str | None, typer.Argument(help="A subject (sub-03, 03 or 3) to look at more closely.", show_default=False)
    ] = None,
    storage_option: Annotated[
        list[str] | None,
        typer.Option(
            "--storage-option",
            "-o",
            help="Option of the file system, for an address; repeatable.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is there: subjects, sessions, trials, files that are missing, sizes, ROIs, stimuli.

    Works on half-downloaded folders too, and reads no betas.
    """
    with reporting(debug or bool(context.obj)):
        load("info").run(root, subject, storage_option or [], json)


@app.command(
    epilog=examples(
        "laion-xr simulate my-data",
        "laion-xr simulate my-data --subjects sub-03 --sessions 2 --trials 60 --grid 24,26,22",
        "laion-xr simulate big --full-size",
    )
)
def simulate(
    context: typer.Context,
    root: Annotated[Path, typer.Argument(help="Folder to write to; made where it is missing.", show_default=False)],
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            help="How many, or names: `2`, or `sub-01,sub-03`; repeatable. [default: sub-01,sub-03]",
            metavar="NAMES",
            show_default=False,
        ),
    ] = None,
    sessions: Annotated[
        list[str] | None,
        typer.Option(
            help="How many, or names: `3`, or `ses-01,ses-04`; repeatable. [default: 3]",
            metavar="NAMES",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials a session. [default: 60]", metavar="N", show_default=False)
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="Voxels along each axis: `24,26,22`, or one number for all. [default: 24,26,22]",
            metavar="X,Y,Z",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    full_size: Annotated[
        bool,
        typer.Option(
            "--full-size", help="One session as published, 143 x 143 x 143 x 1,044, for benchmarks: 1.1 GB and minutes."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a simulated dataset. Other data are never touched.")
    ] = False,
    progress: Annotated[
        bool, typer.Option("--progress/--no-progress", help="A progress bar, where the terminal can show one.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Write a simulated dataset in the published layout.

    Every file of the published layout is there. Betas are a known tuning of each voxel to features of the image, plus
    noise; `laion_xr.simulate` in Python returns that truth.
    """
    with reporting(debug or bool(context.obj)):
        load("simulate").run(
            root,
            subjects=subjects or [],
            sessions=sessions or [],
            trials=trials,
            grid=grid,
            seed=seed,
            full_size=full_size,
            overwrite=overwrite,
            progress=progress,
        )
