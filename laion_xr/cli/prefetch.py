"""`laion-xr prefetch`: on a node with a network, what jobs on nodes without one will want."""

from __future__ import annotations

from typing import Any

import xarray as xr

from laion_xr.access.cache import with_cache
from laion_xr.access.configuration import cache_dir, data_dir, is_folder
from laion_xr.access.splits import find_split, registry
from laion_xr.catalog import Catalog
from laion_xr.cli.download import Given, fetched
from laion_xr.cli.info import options
from laion_xr.cli.screen import count_text, emit_json, line, size_text, stderr
from laion_xr.errors import LaionXRError, SelectionError, missing_extra
from laion_xr.location import Location


def run(
    root: str | None,
    given: Given,
    subjects: list[str] | None,
    sessions: list[str] | None,
    embeddings: list[str] | bool,
    surface: bool,
) -> None:
    """Fetch, and say what is here now and how jobs use it."""
    place = data_dir(must_exist=False) if root is None else root
    found: dict[str, Any] = {"root": place, "cache": str(cache_dir())}
    if is_folder(place) and (subjects or embeddings):
        found["download"] = fetched(
            root, given, subject=subjects, session=sessions, embeddings=embeddings, stimuli=None
        ).to_dict()
    elif not is_folder(place):
        found["catalogue"] = keep_catalogue(place, given, subjects)
    elif sessions:
        raise SelectionError("--session needs --subject: give whose sessions are wanted.")
    if not given.json:
        # now: where a split file then cannot be had, this is here all the same
        show(found)
    with stderr().status("Fetching split files ..."):
        found["splits"] = sum(find_split(name, pool).is_file() for pool, name in map(_pool_and_name, registry()))
    if surface:
        found["template_surface"] = fetch_surface()
    if given.json:
        emit_json(found)
        return
    line(f"{count_text(found['splits'], 'split file')} in {found['cache']} (LAION_XR_CACHE, if the jobs have another)")


def keep_catalogue(address: str, given: Given, subjects: list[str] | None) -> list[str]:
    """Open subjects of an address, so that what opening reads is in the cache; return their names."""
    location = with_cache(Location.of(address, options(given.storage_option or [])), True)
    catalog = Catalog.scan(location)
    names = [catalog.subject_name(name) for name in subjects] if subjects else list(catalog.subjects)
    for name in names:
        with stderr().status(f"Keeping the catalogue of {name} ..."):
            xr.open_dataset(
                address,
                engine="laion_fmri",
                subject=name,
                cache_catalog=True,
                storage_options=dict(location.storage_options),
            ).close()
    return names


def fetch_surface() -> str:
    """Have nilearn keep the surface that figures of a template are drawn on, and return where.

    Raises
    ------
    MissingExtraError
        nilearn is not installed.
    """
    try:
        from nilearn import datasets  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra("nilearn", "plot", "--template-surface") from None
    try:
        datasets.fetch_surf_fsaverage("fsaverage5")
    except OSError as error:
        raise LaionXRError(f"nilearn could not fetch the fsaverage surface ({error}): try again later.") from None
    return "fsaverage5"


def show(found: dict[str, Any]) -> None:
    """Print what of the data is here now, and how jobs use it."""
    if "download" in found:
        done = found["download"]
        came = f"{count_text(len(done['fetched']), 'file')} fetched ({size_text(done['bytes'])})"
        line(f"{came}, {len(done['present']):,} here before; {done['root']}")
    if "catalogue" in found:
        line(
            f"The catalogue of {', '.join(found['catalogue'])}: open with cache_catalog='offline'; betas need a store."
        )


def _pool_and_name(key: str) -> tuple[str, str]:
    pool, _, name = key.partition("/")
    return pool, name.removesuffix(".json")
