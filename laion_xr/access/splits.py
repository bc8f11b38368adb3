"""The published split files: where one is found, its download, and what it holds.

They are data of the published loader (BSD-3). This package has the SHA-256 of each file, and none of the files.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from laion_xr.access.configuration import cache_dir
from laion_xr.errors import (
    CorruptFileError,
    FileAccessError,
    FileFormatError,
    SplitLeakageError,
    SplitsNotAvailableError,
    describe_names,
    unknown_label,
)
from laion_xr.schema import PARTICIPANT_CODES

SPLITS_DIR_VARIABLE = "LAION_XR_SPLITS_DIR"
COMMIT = "eee8400aa3214f310b840397f9f043b9c2da79b0"
BASE_URL = f"https://raw.githubusercontent.com/ViCCo-Group/LAION-fMRI/{COMMIT}/laion_fmri/splits/data/"
REGISTRY = "splits.txt"
PUBLISHED_LOADER = "laion_fmri"

SHARED_POOL = "shared"
POOLS = (SHARED_POOL, *PARTICIPANT_CODES)
FAMILIES = {family: tuple(f"{family}_{i}" for i in range(5)) for family in ("cluster_k5", "random")}
OOD = "ood"
SPLITS = ("tau", *FAMILIES["cluster_k5"], OOD, *FAMILIES["random"])

SECONDS_WITHOUT_ANSWER = 30


class SplitImages(NamedTuple):
    """The image names of both sides of a split, each sorted as its file or recipe has them."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def splits_folder(splits_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the user's folder of split files: the argument, else `LAION_XR_SPLITS_DIR`, else None.

    Raises
    ------
    SplitsNotAvailableError
        It is named and not there.
    """
    named = splits_dir or os.environ.get(SPLITS_DIR_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise SplitsNotAvailableError(
            f"The folder of split files {folder} does not exist: expected a folder that holds {{pool}}/{{name}}.json, "
            f"as splits_dir= or {SPLITS_DIR_VARIABLE} names it."
        )
    return folder


def split_names(pool: str, splits_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of a pool's splits: the twelve published ones, then others of the user's folder."""
    published = list(SPLITS) if pool in POOLS else [OOD, *FAMILIES["random"]]  # what has a recipe
    folder = splits_folder(splits_dir)
    own = sorted(path.stem for path in (folder / pool).glob("*.json")) if folder else []
    return published + [name for name in own if name not in published]


def pool_names(splits_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of the pools: the published ones, then other subjects of the user's folder."""
    folder = splits_folder(splits_dir)
    own = sorted(path.name for path in folder.glob("sub-*") if path.is_dir()) if folder else []
    return [*POOLS, *(name for name in own if name not in POOLS)]


def read_split(name: str, pool: str, splits_dir: str | os.PathLike[str] | None = None) -> SplitImages:
    """Return what the file of a split holds, from the first place that has it.

    The places: the user's folder, the installed published loader, the cache, and one download into the cache.

    Raises
    ------
    SplitsNotAvailableError
        No place has it, and the download fails.
    CorruptFileError
        What was downloaded is not the published file.
    FileFormatError
        The file is not that of this split.
    SplitLeakageError
        The file has an image on both sides.
    UnknownLabelError
        No split has the name.
    """
    path = find_split(name, pool, splits_dir)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileAccessError(f"The split file {path} cannot be read ({error}); check its permissions.") from error
    return parse_split(data, name, pool, str(path))


def find_split(name: str, pool: str, splits_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of a split's file, downloading it once if need be; raises as `read_split`."""
    key = f"{pool}/{name}.json"
    places = [place for place in (splits_folder(splits_dir), _installed_loader()) if place is not None]
    for place in places:
        if (place / key).is_file():
            return place / key
    digest = registry().get(key)
    if digest is None:
        raise unknown_label("Split", name, split_names(pool, splits_dir))
    return _download(key, digest, places)


def registry() -> dict[str, str]:
    """Return `{pool}/{name}.json` -> SHA-256 (hexadecimal) of every published file."""
    text = resources.files("laion_xr.access").joinpath(REGISTRY).read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {key: digest.removeprefix("sha256:") for key, digest in rows}


def parse_split(data: bytes, name: str, pool: str, source: str) -> SplitImages:
    """Return the images of both sides.

    Parameters
    ----------
    data
        A split file: JSON with `variants: [{train_ids, test_ids}]`; `name`, `n_train` and `n_test` are checked where
        they are there. Which pool it is of is told by the images: its field `pool` numbers subjects in two ways.
    source
        Its address, for messages.

    Raises
    ------
    FileFormatError
        It is not a split file, or one of another split or pool.
    SplitLeakageError
        An image is on both sides.
    """
    try:
        content = json.loads(data)
    except ValueError as error:
        raise FileFormatError(f"{source} is not JSON ({error}); get the split file again.") from error
    found = _sides(content, source)
    said = content.get("name", name)
    if said != name:
        raise FileFormatError(f"{source} is the file of another split: expected {name!r}, found {said!r}.")
    for side, images in found._asdict().items():
        counted = content.get(f"n_{side}", len(images))
        if counted != len(images):
            raise FileFormatError(
                f"{source} is not whole: it says n_{side} = {counted!r} and holds {len(images)} images; get it again."
            )
    if both := sorted(set(found.train) & set(found.test)):
        raise SplitLeakageError(f"{source} has images in both train and test: {describe_names(both, 3)}.")
    _check_pool(found, name, pool, source)
    return found


def _sides(content: Any, source: str) -> SplitImages:
    variants = content.get("variants") if isinstance(content, dict) else None
    if not isinstance(variants, list) or len(variants) != 1 or not isinstance(variants[0], dict):
        raise FileFormatError(
            f"{source} is not a split file: expected an object with 'variants', a list of one object with train_ids "
            "and test_ids; get it again, or write it so."
        )
    sides = []
    for key in ("train_ids", "test_ids"):
        images = variants[0].get(key)
        if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise FileFormatError(f"{source} is not a split file: expected {key}, a list of image names.")
        twice = [image for image, n in Counter(images).items() if n > 1]
        if twice:
            raise FileFormatError(f"{source} names images more than once in {key}: {describe_names(twice, 3)}.")
        sides.append(tuple(images))
    return SplitImages(*sides)


def _check_pool(found: SplitImages, name: str, pool: str, source: str) -> None:
    codes = {participant_code(image) for side in found for image in side if image.startswith("unique_")}
    if pool == SHARED_POOL:
        expected: set[str] = set()
    elif pool in PARTICIPANT_CODES and (codes or name in SPLITS):
        expected = {PARTICIPANT_CODES[pool]}
    else:
        return
    if codes != expected:
        subjects = {code: subject for subject, code in PARTICIPANT_CODES.items()}
        owners = describe_names(sorted(subjects.get(code, code) for code in codes))
        raise FileFormatError(
            f"{source} is the file of another pool: expected unique images of "
            f"{'nobody' if pool == SHARED_POOL else pool}, found unique images of "
            f"{owners if codes else 'nobody'}; put it into the folder of its pool."
        )


def participant_code(image: str) -> str:
    """Return what a unique image's name ends in: `"p04"` for `"unique_..._p04.jpg"`."""
    return image.rpartition(".")[0].rpartition("_")[2]


def _installed_loader() -> Path | None:
    # its folder only: importing it costs seconds, and may fail
    try:
        spec = importlib.util.find_spec(PUBLISHED_LOADER)
    except (ImportError, ValueError):
        return None
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        data = Path(folder) / "splits" / "data"
        if data.is_dir():
            return data
    return None


def _download(key: str, digest: str, places: list[Path]) -> Path:
    import pooch  # noqa: PLC0415 - only a split that no recipe makes needs it

    folder = cache_dir() / "splits" / COMMIT[:12]
    url = BASE_URL + key
    try:
        fetcher = pooch.create(path=folder, base_url=BASE_URL, registry={key: f"sha256:{digest}"}, retry_if_failed=1)
        return Path(fetcher.fetch(key, downloader=pooch.HTTPDownloader(timeout=SECONDS_WITHOUT_ANSWER)))
    except ValueError as error:
        raise CorruptFileError(
            f"{url} did not give the published split file: expected SHA-256 {digest}, found another ({error}); try "
            f"again later, or give a folder of split files (splits_dir= or {SPLITS_DIR_VARIABLE})."
        ) from error
    except OSError as error:
        looked = f" (looked in {', '.join(map(str, places))})" if places else ""
        raise SplitsNotAvailableError(
            f"The split file {key} is not on this machine{looked}, and downloading it to {folder} failed: {error}. "
            f"There are three ways to get it: with a network, call this again (it downloads {url} once); install the "
            f"published loader, which has the files; or give a folder that holds {key} as splits_dir= or in "
            f"{SPLITS_DIR_VARIABLE}."
        ) from error
