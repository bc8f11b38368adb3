"""The commands of the store, their arguments and their help: `plan`, `ingest`, `verify`, `store info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_xr.cli.commands import Debug, Json, app, examples, load
from laion_xr.cli.screen import reporting

Root = Annotated[
    str, typer.Argument(help="Folder or address of the dataset: it holds `derivatives`.", show_default=False)
]
OptionalRoot = Annotated[
    str | None,
    typer.Argument(help="The dataset that the store was made from, to compare with.", show_default=False),
]
Store = Annotated[str, typer.Argument(help="Folder or address of the store.", show_default=False)]
Subjects = Annotated[
    list[str] | None,
    typer.Option(
        "--subject",
        "-s",
        help="`sub-03`, or `1,3`; repeatable. [default: all]",
        metavar="NAMES",
        show_default=False,
    ),
]
Sessions = Annotated[
    list[str] | None,
    typer.Option(
        "--session",
        help="`ses-01`, or `1,2`; repeatable. [default: all]",
        metavar="NAMES",
        show_default=False,
    ),
]
MaskSource = Annotated[str, typer.Option(help="Which voxels: `anatomical` (brain mask) or `rsquare`.", metavar="MASK")]
Precision = Annotated[
    float | None,
    typer.Option(
        help="Lossy: relative error to round the betas to, such as 0.001, which saves about a half. [default: exact]",
        metavar="ERROR",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Sessions written at once. [default: one for two cores]",
        metavar="N",
        show_default=False,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        help="What all workers may hold together: `4GB`, `512MiB`. [default: half of what is available]",
        metavar="SIZE",
        show_default=False,
    ),
]
RootOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        "-o",
        help="Option of the dataset's file system, for an address; repeatable.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
StoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--store-option",
        help="Option of the store's file system, for an address; repeatable.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]

store_app = typer.Typer(
    name="store",
    help="Look at a store: `laion-xr store info STORE`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(store_app)


@app.command(
    epilog=examples(
        "laion-xr plan my-data my-data.zarr",
        "laion-xr plan my-data my-data.zarr --subject sub-03 --memory 4GB --json > plan.json",
    )
)
def plan(
    context: typer.Context,
    root: Root,
    store: Store,
    subject: Subjects = None,
    session: Sessions = None,
    mask_source: MaskSource = "anatomical",
    precision: Precision = None,
    workers: Workers = None,
    memory: Memory = None,
    storage_option: RootOption = None,
    store_option: StoreOption = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what `ingest` would do: sessions, sizes, free space, time. Writes nothing.

    The JSON can be edited and passed back: `laion-xr ingest ROOT STORE --plan plan.json`.
    """
    with reporting(debug or bool(context.obj)):
        work = load("store")
        work.plan(
            work.planned(
                root, store, subject, session, mask_source, precision, workers, memory, storage_option, store_option
            ),
            json,
        )


@app.command(
    epilog=examples(
        "laion-xr ingest my-data my-data.zarr",
        "laion-xr ingest my-data my-data.zarr --subject sub-03 --session 1,2 --workers 4 --memory 4GB",
        "laion-xr ingest my-data s3://my-bucket/laion.zarr --store-option profile=lab",
        "laion-xr ingest my-data my-data.zarr --plan plan.json",
    )
)
def ingest(
    context: typer.Context,
    root: Root,
    store: Store,
    subject: Subjects = None,
    session: Sessions = None,
    mask_source: MaskSource = "anatomical",
    precision: Precision = None,
    workers: Workers = None,
    memory: Memory = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="A plan that `laion-xr plan --json` printed (`-`: standard input), instead of the options above.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update/--no-update", help="Write sessions anew whose source changed since, or refuse them."),
    ] = True,
    progress: Annotated[
        bool, typer.Option("--progress/--no-progress", help="A progress bar, where the terminal can show one.")
    ] = True,
    storage_option: RootOption = None,
    store_option: StoreOption = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Inflate sessions once, and keep them in a store that is read about a hundred times faster.

    That is an ROI, read by laion_xr: about 40 ms instead of 4 s a session. A gzip stream of the standard library takes
    500 times as long as the store.

    A session appears in the store when it is complete and was read back. Interrupted? Run the same command again: what
    is complete is kept. Open with `store=` or the environment variable LAION_XR_STORE.
    """
    with reporting(debug or bool(context.obj)):
        work = load("store")
        asked = (subject, session, mask_source, precision, workers, memory)
        if plan is None:
            chosen = work.planned(root, store, *asked, storage_option, store_option)
        else:
            file = load("plan_file")
            file.refuse_both(dict(zip(file.OPTIONS, asked, strict=True)))
            chosen = file.plan_of_file(plan, root, store)
        work.ingest(chosen, root, store, update, progress, storage_option, store_option, json)


@app.command(
    epilog=examples(
        "laion-xr verify my-data.zarr",
        "laion-xr verify my-data.zarr my-data",
        "laion-xr verify my-data.zarr my-data --repair",
    )
)
def verify(
    context: typer.Context,
    store: Store,
    root: OptionalRoot = None,
    subject: Subjects = None,
    repair: Annotated[bool, typer.Option("--repair", help="Ingest again what is not right; needs ROOT.")] = False,
    storage_option: RootOption = None,
    store_option: StoreOption = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check every session of a store: its checksums; with ROOT also its values, bit for bit.

    The exit code is 1 when something is not right (and was not repaired).
    """
    with reporting(debug or bool(context.obj)):
        load("store").verify(store, root, subject, repair, storage_option, store_option, json)


@store_app.command(
    "info",
    epilog=examples("laion-xr store info my-data.zarr", "laion-xr store info my-data.zarr my-data --json"),
)
def store_information(
    context: typer.Context,
    store: Store,
    root: OptionalRoot = None,
    storage_option: RootOption = None,
    store_option: StoreOption = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a store holds: sessions, sizes, codec, chunks, precision, versions, and what it was made from.

    With ROOT it says whether the source of each session is still the same. Reads no betas.
    """
    with reporting(debug or bool(context.obj)):
        load("store").info(store, root, storage_option, store_option, json)
