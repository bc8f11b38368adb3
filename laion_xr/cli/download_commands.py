"""The commands that bring data, their arguments and their help: `download`, its siblings, `prefetch`, `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from laion_xr.cli.commands import Debug, Json, app, examples, load
from laion_xr.cli.screen import reporting

Root = Annotated[
    str | None,
    typer.Argument(
        help="Folder to download into; the configured data folder where it is left out.", show_default=False
    ),
]
Subjects = Annotated[
    list[str] | None,
    typer.Option(
        "--subject", "-s", help="`sub-03`, or `1,3`, or `all`; repeatable.", metavar="NAMES", show_default=False
    ),
]
Sessions = Annotated[
    list[str] | None,
    typer.Option(
        "--session",
        help="`ses-01`, or `1,2`, or `averages`; repeatable. [default: all]",
        metavar="NAMES",
        show_default=False,
    ),
]


def _filter(what: str) -> object:
    return typer.Option(help=f"{what}; repeatable.", metavar="NAMES", show_default=False)


Include = Annotated[
    list[str] | None, _filter("Kinds of files (`betas`, `trials`, `maps`, `rois`, `model`, `all`, ...) or patterns")
]
Desc = Annotated[list[str] | None, _filter("Values of `desc-` in the names, such as `SingletrialBetas`")]
Stat = Annotated[list[str] | None, _filter("Values of `stat-`, such as `effect`")]
Space = Annotated[list[str] | None, _filter("Values of `space-`, such as `T1w`")]
Suffix = Annotated[list[str] | None, _filter("Last parts of the names, such as `statmap`")]
Embeddings = Annotated[
    list[str] | None,
    typer.Option(
        "--embeddings", help="Embeddings of a model, or `all`; repeatable.", metavar="MODELS", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come, how large it is, and fetch nothing.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=32, help="Files at once.", metavar="N")]
Check = Annotated[bool, typer.Option("--check", help="Read every file, those that are here too: its checksums.")]
NoChecksums = Annotated[
    bool, typer.Option("--no-checksums", help="Do not compare with ETags (buckets encrypted with keys of their own).")
]
Accept = Annotated[
    bool, typer.Option("--accept-license", help="The CC0 notice of the data has been read and is accepted.")
]
SourceOption = Annotated[str, typer.Option("--source", help="The bucket, or a mirror of it.", metavar="ADDRESS")]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        "-o",
        help="Option of the source's file system; repeatable.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="A progress bar, where the terminal can show one.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="A line a file, and a line a failed attempt.")]
BUCKET = "s3://laion-fmri"


@app.command(
    epilog=examples(
        "laion-xr download my-data -s sub-03 --dry-run",
        "laion-xr download my-data -s sub-03 --session 1,2 --accept-license",
        "laion-xr download my-data -s all --include trials,maps,rois",
    )
)
def download(
    context: typer.Context,
    root: Root = None,
    subject: Subjects = None,
    session: Sessions = None,
    include: Include = None,
    desc: Desc = None,
    stat: Stat = None,
    space: Space = None,
    suffix: Suffix = None,
    anatomical: Annotated[bool, typer.Option("--anatomical", help="T1w, T2w and their masks too.")] = False,
    surfaces: Annotated[bool, typer.Option("--surfaces", help="The FreeSurfer reconstruction too.")] = False,
    stimuli: Annotated[bool, typer.Option("--stimuli/--no-stimuli", help="The table of the stimuli.")] = True,
    embeddings: Embeddings = None,
    segmentations: Annotated[bool, typer.Option("--segmentations", help="Segmentations of the images too.")] = False,
    captions: Annotated[bool, typer.Option("--captions", help="Captions of the images too.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = 8,
    check: Check = False,
    no_checksums: NoChecksums = False,
    accept_license: Accept = False,
    source: SourceOption = BUCKET,
    storage_option: StorageOption = None,
    progress: Progress = True,
    verbose: Verbose = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Download data from the public bucket: what a Dataset is made of, or what the options choose.

    What is here is left; what is interrupted goes on when the same is run again. Without filters a subject is some
    35 GB: betas, tables, maps, ROIs and masks, without the GLMsingle models. Stimulus images are gated:
    `laion-xr download-stimuli`.
    """
    with reporting(debug or bool(context.obj)):
        work = load("download")
        work.download(
            root,
            work.Given(
                dry_run, jobs, check, not no_checksums, accept_license, source, storage_option, progress, verbose, json
            ),
            subject=work.names(subject),
            session=work.names(session),
            include=work.names(include),
            desc=work.names(desc),
            stat=work.names(stat),
            space=work.names(space),
            suffix=work.names(suffix),
            anatomical=anatomical,
            surfaces=surfaces,
            stimuli=None if stimuli else False,
            embeddings=work.models(embeddings),
            segmentations=segmentations,
            captions=captions,
        )


def _add(what: str, title: str, example: str) -> None:
    def command(
        context: typer.Context,
        root: Root = None,
        dry_run: DryRun = False,
        jobs: Jobs = 8,
        check: Check = False,
        no_checksums: NoChecksums = False,
        accept_license: Accept = False,
        source: SourceOption = BUCKET,
        storage_option: StorageOption = None,
        progress: Progress = True,
        verbose: Verbose = False,
        json: Json = False,
        debug: Debug = False,
    ) -> None:
        with reporting(debug or bool(context.obj)):
            work = load("download")
            given = work.Given(
                dry_run, jobs, check, not no_checksums, accept_license, source, storage_option, progress, verbose, json
            )
            work.download(root, given, **{what: True})

    command.__doc__ = title
    app.command(f"download-{what}", epilog=examples(example))(command)


@app.command("download-embeddings", epilog=examples("laion-xr download-embeddings my-data --model CLIP"))
def download_embeddings(
    context: typer.Context,
    root: Root = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="`CLIP`, `DINOv2`, `PEcore` or `SigLIP2`; repeatable. [default: all]",
            metavar="MODELS",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
    jobs: Jobs = 8,
    check: Check = False,
    no_checksums: NoChecksums = False,
    accept_license: Accept = False,
    source: SourceOption = BUCKET,
    storage_option: StorageOption = None,
    progress: Progress = True,
    verbose: Verbose = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Download the features of the images by models."""
    with reporting(debug or bool(context.obj)):
        work = load("download")
        given = work.Given(
            dry_run, jobs, check, not no_checksums, accept_license, source, storage_option, progress, verbose, json
        )
        work.download(root, given, embeddings=work.models(model) or True)


_add(
    "segmentations",
    "Download the segmentations of the shared images, and their table.",
    "laion-xr download-segmentations my-data",
)
_add("captions", "Download the captions of the images.", "laion-xr download-captions my-data")


@app.command(
    epilog=examples(
        "laion-xr prefetch my-data -s sub-03 --session 1,2 --accept-license",
        "laion-xr prefetch s3://laion-fmri -s sub-03",
    )
)
def prefetch(
    context: typer.Context,
    root: Root = None,
    subject: Subjects = None,
    session: Sessions = None,
    embeddings: Embeddings = None,
    surface: Annotated[
        bool, typer.Option("--template-surface", help="The fsaverage surface that figures use, too.")
    ] = False,
    jobs: Jobs = 8,
    accept_license: Accept = False,
    source: SourceOption = BUCKET,
    storage_option: StorageOption = None,
    progress: Progress = True,
    verbose: Verbose = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fetch, on a node with a network, what jobs on nodes without one will want.

    The published split files into the cache folder; into ROOT what `download` brings of the subjects, with embeddings
    where asked for. Where ROOT is an address: its catalogue into the cache, for `cache_catalog="offline"`.
    """
    with reporting(debug or bool(context.obj)):
        work, chosen = load("prefetch"), load("download")
        given = chosen.Given(False, jobs, False, True, accept_license, source, storage_option, progress, verbose, json)
        work.run(root, given, chosen.names(subject), chosen.names(session), chosen.models(embeddings), surface)


@app.command(
    epilog=examples("laion-xr doctor", "laion-xr doctor my-data --deep", "laion-xr doctor my-data --remote --json")
)
def doctor(
    context: typer.Context,
    root: Annotated[
        str | None,
        typer.Argument(help="Folder of the data; the configured one where it is left out.", show_default=False),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="A store; the configured one where it is left out.", metavar="STORE", show_default=False),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all of every .gz and .h5 file, which checks their checksums: minutes.")
    ] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Compare with the bucket: sizes, and what is not here.")
    ] = False,
    source: SourceOption = BUCKET,
    storage_option: StorageOption = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is here, what is broken, and what to run.

    Settings, versions, free space, subjects; files that are truncated, half-downloaded or pointers; tables that do not
    fit their betas; a store that is behind its source. The exit code is 1 when something is broken.
    """
    with reporting(debug or bool(context.obj)):
        load("doctor").run(root, store, deep, remote, source, storage_option or [], json)
