"""The commands of the configuration and the gated images, their arguments and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_xr.cli.commands import Debug, Json, app, examples, load
from laion_xr.cli.screen import reporting

Name = Annotated[
    str, typer.Argument(help="`data_dir`, `store`, `cache_dir` or `access_url`.", metavar="NAME", show_default=False)
]

config_app = typer.Typer(
    name="config",
    invoke_without_command=True,
    rich_markup_mode="markdown",
    epilog=examples("laion-xr config", "laion-xr config set data_dir my-data", "laion-xr config get store"),
)
app.add_typer(config_app)


@config_app.callback()
def config(context: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """Show and change the configuration: the data folder, the store, the cache folder, the access service.

    Without a command: every setting, and where it comes from.

    The strongest first: the environment (LAION_XR_DATA_DIR, LAION_XR_STORE, LAION_XR_CACHE, LAION_XR_ACCESS_URL), the
    configuration file, what users of the published loader have (LAION_FMRI_ROOT, LAION_FMRI_DATA, its config.json).
    """
    if context.invoked_subcommand is None:
        with reporting(debug or bool(context.obj)):
            load("config").show(json)


@config_app.command("get", epilog=examples("laion-xr config get data_dir"))
def config_get(context: typer.Context, name: Name, debug: Debug = False) -> None:
    """Print one setting. The exit code is 1 where nothing sets it."""
    with reporting(debug or bool(context.obj)):
        load("config").get(name)


@config_app.command("set", epilog=examples("laion-xr config set data_dir my-data"))
def config_set(
    context: typer.Context,
    name: Name,
    value: Annotated[str, typer.Argument(help="A folder or an address.", show_default=False)],
    create: Annotated[bool, typer.Option("--create", help="Make the data folder where there is none.")] = False,
    debug: Debug = False,
) -> None:
    """Keep a setting in the configuration file. A data folder has to exist."""
    with reporting(debug or bool(context.obj)):
        load("config").change(name, value, create)


@config_app.command("unset", epilog=examples("laion-xr config unset store"))
def config_unset(context: typer.Context, name: Name, debug: Debug = False) -> None:
    """Remove a setting from the configuration file."""
    with reporting(debug or bool(context.obj)):
        load("config").unset(name)


@config_app.command("path")
def config_path(context: typer.Context, debug: Debug = False) -> None:
    """Print the path of the configuration file, which need not exist."""
    with reporting(debug or bool(context.obj)):
        load("config").path()


@app.command(
    "download-stimuli",
    epilog=examples(
        "laion-xr download-stimuli",
        "laion-xr download-stimuli my-data --name 'Ada Lovelace' --email ada@university.example "
        "--institution 'University' --purpose 'Encoding models of the ventral stream' --accept-license",
    ),
)
def download_stimuli(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Argument(help="The data folder; the configured one where it is left out.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Your full name.", metavar="NAME", show_default=False)] = None,
    email: Annotated[
        str | None, typer.Option(help="Your address at your institution.", metavar="EMAIL", show_default=False)
    ] = None,
    institution: Annotated[
        str | None, typer.Option(help="Your institution.", metavar="NAME", show_default=False)
    ] = None,
    purpose: Annotated[
        str | None,
        typer.Option(help="What the images are for, in a sentence or two.", metavar="TEXT", show_default=False),
    ] = None,
    supervisor: Annotated[
        str | None, typer.Option(help="Who supervises you, if somebody does.", metavar="NAME", show_default=False)
    ] = None,
    accept_license: Annotated[
        bool,
        typer.Option("--accept-license", help="You have read the agreement that is in force, and accept it."),
    ] = False,
    access_url: Annotated[
        str | None,
        typer.Option(help="Address of the access service. [default: as configured]", metavar="URL", show_default=False),
    ] = None,
    progress: Annotated[
        bool, typer.Option("--progress/--no-progress", help="A progress bar, where the terminal can show one.")
    ] = True,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Download the stimulus images, which are given under an agreement of their own.

    The first time you are asked who you are and what the images are for, and to accept the agreement; or say so with
    the options. After that LAION_FMRI_REQUEST_ID, or a file that only you can read, has the request id. Interrupted?
    Run the same command again: it goes on where it stopped.
    """
    with reporting(debug or bool(context.obj)):
        load("images").run(
            root,
            {
                "name": name,
                "email": email,
                "institution": institution,
                "research_purpose": purpose,
                "pi_or_supervisor": supervisor,
            },
            accept_license,
            access_url,
            progress,
            json,
        )
