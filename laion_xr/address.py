"""An address and its options -> the fsspec file system, with the defaults that the public bucket and S3 get.

With `laion_xr.location` the only module that knows fsspec. Imports errors and remote only.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.core import url_to_fs
from fsspec.registry import known_implementations
from fsspec.utils import tokenize

from laion_xr.errors import AddressError, MissingExtraError, describe_names, missing_extra
from laion_xr.remote import ATTEMPTS

# The published data, which nobody needs credentials for; any other bucket is the user's own business
PUBLIC_BUCKET = "laion-fmri"
# Options of s3fs, and of its botocore client, that say who asks: with one of them the user has decided
_IDENTITY = frozenset({"anon", "key", "secret", "token", "username", "password", "profile", "session"})
_CLIENT_IDENTITY = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})
# Opening a subject asks for a hundred small files at once; botocore's own limit is 10
CONNECTIONS = 32


def file_system(url: str, options: Mapping[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of an address, and the address as it spells it: one for all threads of a process.

    It makes each request once: `laion_xr.remote` is what tries again.

    Raises
    ------
    AddressError
        No file system has the protocol, or it refuses the options.
    MissingExtraError
        The file system is a package that is not installed.
    """
    given = effective_options(url, options, {"total_max_attempts": 1})
    fs, base = _shared(os.getpid(), url, _Options(given))
    if not fs.async_impl or given.get("skip_instance_cache"):
        fs, base = _opened(url, given)
    if _s3_bucket(url) is not None and "::" not in url and "retries" not in (options.get("config_kwargs") or {}):
        # s3fs tries broken connections 5 times above botocore; these options are nobody else's, so the instance is ours
        fs.retries = 1
    return fs, base


def independent_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for a library that makes its requests itself: botocore and s3fs try them again."""
    given = effective_options(url, options, {"mode": "standard", "total_max_attempts": ATTEMPTS})
    if _s3_bucket(url) is not None and "::" not in url:
        # with more, s3fs asks for the size of every chunk before it reads it
        given = {"max_concurrency": 1, **given}
    return given


def effective_options(url: str, options: Mapping[str, Any], retries: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the options of an address with the defaults of S3 and of the public bucket; what the user gave wins.

    `retries` is botocore's setting of that name. Of a chained address (`simplecache::s3://...`) the options of S3 are
    those under `"s3"`.
    """
    bucket = _s3_bucket(url)
    if bucket is None:
        return dict(options)
    chained = "::" in url
    protocol = url.rpartition("::")[2].partition("://")[0]
    given = dict((options.get(protocol) or {}) if chained else options)
    if bucket == PUBLIC_BUCKET and not (_IDENTITY & given.keys() or _CLIENT_IDENTITY & _part(given, "client_kwargs")):
        given["anon"] = True
    if retries is not None:
        given["config_kwargs"] = {
            "max_pool_connections": CONNECTIONS,
            "retries": dict(retries),
            **(given.get("config_kwargs") or {}),
        }
    return {**options, protocol: given} if chained else given


def advice(url: str, options: Mapping[str, Any]) -> str:
    """Return what to do where an address may not be read."""
    if _s3_bucket(url) is None:
        return "check the address and the credentials in storage_options"
    given = effective_options(url, options)
    if "::" in url:
        given = given.get(url.rpartition("::")[2].partition("://")[0]) or {}
    if given.get("anon"):
        return (
            "it was asked anonymously: check the address, or give credentials in storage_options (profile=..., or "
            "key=... and secret=...)"
        )
    return (
        "check the credentials (storage_options, or those that AWS finds on this machine), or pass "
        "storage_options={'anon': True} where it is public"
    )


def hidden(options: Mapping[str, Any]) -> str:
    """Return options as they may be shown: their names, and none of their values, which may be credentials."""
    return f"{{{', '.join(f'{name!r}: <hidden>' for name in options)}}}"


class _Options(dict[str, Any]):
    def __repr__(self) -> str:
        return hidden(self)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tokenize(self))


@functools.lru_cache(maxsize=32)
def _shared(process: int, url: str, options: _Options) -> tuple[fsspec.AbstractFileSystem, str]:
    # fsspec up to 2026.4 makes another one, with connections of its own, for each thread; an asynchronous one does its
    # work in one thread anyhow
    return _opened(url, options)


def _opened(url: str, options: Mapping[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        fs, base = url_to_fs(url, **options)
    except ImportError as error:
        raise _not_installed(url, error) from None
    except (ValueError, TypeError) as error:
        protocol = url.rpartition("::")[2].partition("://")[0]
        if protocol in known_implementations or "not known" not in str(error):
            raise AddressError(
                f"{url} cannot be opened with these storage_options ({describe_names(sorted(options))}): {error}."
            ) from None
        raise AddressError(
            f"{url} has a protocol that is not known: expected a folder, or an address such as s3://bucket/folder, "
            f"https://... or memory://..., found {protocol}://. Check the spelling, or install its fsspec package."
        ) from None
    return fs, str(base).rstrip("/")


def _not_installed(url: str, error: ImportError) -> MissingExtraError:
    if _s3_bucket(url) is not None:
        return missing_extra("s3fs", "s3", f"Reading {url}")
    return MissingExtraError(f"Reading {url} needs a package that is not installed: {error}.")


def _s3_bucket(url: str) -> str | None:
    """Return the bucket of an address on S3, or None."""
    protocol, found, rest = url.rpartition("::")[2].partition("://")
    return rest.partition("/")[0] if found and protocol in ("s3", "s3a") else None


def _part(options: Mapping[str, Any], name: str) -> frozenset[str]:
    return frozenset(options.get(name) or {})
