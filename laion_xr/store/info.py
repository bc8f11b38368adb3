"""What a store holds, without reading betas: one listing, and the metadata of each session."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from laion_xr import layout
from laion_xr.catalog import Catalog
from laion_xr.errors import DataNotDownloadedError, LaionXRError, StoreError
from laion_xr.location import Location
from laion_xr.readers.stored import BETAS
from laion_xr.stored import FORMAT_VERSION, METADATA, RECORD, StoredSession

# What became of the file that a session was made from
SAME, CHANGED, MISSING, UNKNOWN = "same", "changed", "missing", "not checked"


@dataclass(frozen=True)
class StoredSessionInfo:
    """A session of a store.

    Attributes
    ----------
    size, betas_bytes
        Bytes in the store, maps and coordinates included; bytes of the betas as float32.
    codec, chunks
        As stored; trials and voxels of a chunk.
    precision
        Relative error of the betas, or None for exact float32.
    source, source_size, source_state
        The file it was made from, its bytes then, and whether it is the same now: `"same"`, `"changed"`, `"missing"`,
        or `"not checked"` without a root.
    complete
        False for what an ingest that was killed, or is still running, left: readers pass it by.
    """

    subject: str
    session: str
    complete: bool
    size: int
    trials: int | None = None
    voxels: int | None = None
    betas_bytes: int | None = None
    codec: str | None = None
    chunks: tuple[int, ...] | None = None
    precision: float | None = None
    mask_source: str | None = None
    format: int | None = None
    laion_xr_version: str | None = None
    source: str | None = None
    source_size: int | None = None
    source_state: str = UNKNOWN


@dataclass(frozen=True)
class StoreInfo:
    """A store: its sessions, its bytes, and sentences about what is wrong."""

    store: str
    sessions: list[StoredSessionInfo]
    size: int
    problems: list[str] = field(default_factory=list)


def store_info(
    store: Any,
    root: Any = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    store_options: Mapping[str, Any] | None = None,
) -> StoreInfo:
    """Return what a store holds; reads no betas.

    Parameters
    ----------
    store
        The store: a folder or any fsspec address.
    root
        The dataset: then each session says whether its source is still the one that it was made from.
    storage_options, store_options
        Options of the fsspec file systems of root and store.

    Raises
    ------
    StoreError
        There is no store.
    """
    place = Location.of(store, store_options)
    try:
        place.read_bytes(METADATA)
    except DataNotDownloadedError:
        # asked first: a listing of what is no store may take for ever
        raise StoreError(f"{place.url} is not a store: expected its {METADATA}; laion_xr.ingest makes one.") from None
    files = {entry.path: entry.size for entry in place.files("")}
    catalog = None if root is None else Catalog.scan(root, storage_options)
    sizes: Counter[tuple[str, str]] = Counter()
    for path, size in files.items():
        subject, _, rest = path.partition("/")
        session = rest.partition("/")[0]
        if layout.is_subject(subject) and layout.is_session(session):
            sizes[subject, session] += size
    wanted = [f"{s}/{n}{rest}" for s, n in sizes for rest in (f"/{METADATA}", f"/{BETAS}/{METADATA}")]
    metadata = place.read_many([path for path in wanted if path in files])
    sessions, problems = [], []
    for (subject, session), size in sorted(sizes.items()):
        try:
            found = _session(place, subject, session, size, metadata, catalog)
            problems += _problems(place, found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            found = StoredSessionInfo(subject, session, False, size)
            problems.append(
                f"{place.show(f'{subject}/{session}')} has metadata that cannot be read ({type(error).__name__}: "
                f"{error}): ingest again."
            )
        sessions.append(found)
    return StoreInfo(place.url, sessions, sum(files.values()), problems)


def _session(
    place: Location,
    subject: str,
    session: str,
    size: int,
    metadata: Mapping[str, bytes],
    catalog: Catalog | None,
) -> StoredSessionInfo:
    path = f"{subject}/{session}"
    group = json.loads(metadata.get(f"{path}/{METADATA}", b"{}"))
    record = group.get("attributes", {}).get(RECORD, {})
    if not record.get("complete"):
        return StoredSessionInfo(subject, session, False, size)
    array = json.loads(metadata[f"{path}/{BETAS}/{METADATA}"])
    stored = StoredSession(place, path, record)
    return StoredSessionInfo(
        subject=subject,
        session=session,
        complete=True,
        size=size,
        trials=record["n_trials"],
        voxels=record["n_voxels"],
        betas_bytes=4 * record["n_trials"] * record["n_voxels"],
        codec=codec_text(array["codecs"]),
        chunks=tuple(array["chunk_grid"]["configuration"]["chunk_shape"]),
        precision=record["precision"],
        mask_source=record["mask_source"],
        format=record["format"],
        laion_xr_version=record["package"],
        source=record["source"]["path"],
        source_size=record["source"]["size"],
        source_state=UNKNOWN if catalog is None else _source_state(stored, catalog, subject, session),
    )


def _source_state(stored: StoredSession, catalog: Catalog, subject: str, session: str) -> str:
    try:
        found = catalog.subject(subject)
        files = found.session(session).files
    except LaionXRError:
        return MISSING
    entry = files.get("betas") or files.get("model")
    if entry is None:
        return MISSING
    return SAME if stored.matches(found.location, entry) else CHANGED


def _problems(place: Location, found: StoredSessionInfo) -> list[str]:
    path = place.show(f"{found.subject}/{found.session}")
    if found.complete and found.format is not None and found.format > FORMAT_VERSION:
        return [f"{path} is of store format {found.format}, and this version reads {FORMAT_VERSION}: update laion_xr."]
    if found.source_state == CHANGED:
        return [f"{path} was made from another {found.source} than the one that is there now: ingest again."]
    if not found.complete:
        return [f"{path} is not complete: an ingest was killed there, or is running. Readers pass it by; ingest again."]
    return []


def codec_text(codecs: list[dict[str, Any]]) -> str:
    """Return the codecs of a Zarr array in a few words: `"blosc lz4-5 bitshuffle + crc32c"`; `"none"` for raw bytes."""
    words = []
    for codec in codecs:
        name, settings = str(codec["name"]), codec.get("configuration", {})
        if name == "bytes":
            continue
        if name == "blosc":
            name += f" {settings['cname']}-{settings['clevel']} {settings['shuffle']}"
        words.append(name)
    return " + ".join(words) or "none"
