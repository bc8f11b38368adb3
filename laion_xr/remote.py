"""Requests that may fail for a while: which failures pass, how long they are tried again, what is said in the end.

The only place that retries. No protocol's library is imported: an error is judged by what it says of itself (its kind,
the status of the answer), so that one rule holds for S3, HTTP and what else fsspec reaches. Imports errors only.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from laion_xr.errors import LaionXRError, UnreachableError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

# Pauses of 0.25, 0.5, 1, 2, 4 and 8 seconds, each a little longer by chance, so that many workers do not come back at
# the same moment; no attempt begins after PATIENCE seconds, however slowly the others failed. A server that names a
# longer pause (Retry-After) is not asked before, and where that is beyond the patience not again.
ATTEMPTS = 7
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
PATIENCE = 60.0

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
REFUSED_STATUS = frozenset({401, 403, 407})
MISSING_STATUS = frozenset({404, 410})

# Classes of botocore, aiohttp and urllib3, by name: what derives from them is a connection that broke or was not made,
# or bytes that were damaged on their way
_BROKEN_CONNECTION = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectionError",
        "FlexibleChecksumError",
        "HTTPClientError",
        "IncompleteRead",
        "IncompleteReadError",
        "ResponseParserError",
        "gaierror",
    }
)
_BROKEN_ERRNO = frozenset(
    getattr(errno, name, None) for name in ("EREMOTEIO", "EBUSY", "ENETDOWN", "ENETUNREACH", "EHOSTUNREACH")
) - {None}
# Classes of botocore, by name: there are no credentials, or they are not complete
_NO_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOError",
    }
)

# The last two are what libraries raise of options that they do not know
_WRAPPED = (OSError, TypeError, ValueError)
_LIBRARIES = frozenset({"adlfs", "aiobotocore", "aiohttp", "botocore", "gcsfs", "requests", "s3fs", "urllib3"})

_LOG = logging.getLogger(__name__)


def persistently(request: Callable[[], T], what: Callable[[], str], stop: threading.Event | None = None) -> T:
    """Return what a request returns; try again, at growing intervals, while it fails in a way that may pass.

    Parameters
    ----------
    request
        The request; it may be made several times.
    what
        Returns the full address that is asked, for messages.
    stop
        Set by another thread to give up at once, without another attempt.

    Raises
    ------
    UnreachableError
        It failed to the end, or in a way that does not pass; the message says what was tried.
    FileNotFoundError, PermissionError
        The answer was that there is no such thing, or that it may not be had; at once.
    """
    # only where something is remote: 15 ms, and what else it finds installed (tornado)
    from tenacity import (  # noqa: PLC0415
        Retrying,
        retry_if_exception,
        sleep,
        sleep_using_event,
        stop_after_attempt,
        stop_any,
        stop_before_delay,
        stop_when_event_set,
        wait_exponential,
        wait_random,
    )

    usual, chance = wait_exponential(FIRST_PAUSE, LONGEST_PAUSE), wait_random(0, FIRST_PAUSE)

    def pause(state: RetryCallState) -> float:
        asked = retry_after(state.outcome.exception()) if state.outcome is not None else None
        return max(usual(state), asked or 0.0) + chance(state)

    ends = [stop_after_attempt(ATTEMPTS), stop_before_delay(PATIENCE)]
    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        wait=pause,
        stop=stop_any(*ends, *([stop_when_event_set(stop)] if stop is not None else [])),
        sleep=sleep if stop is None else sleep_using_event(stop),
        before_sleep=lambda state: _tell(state, what()),
        reraise=True,
    )
    started = time.monotonic()
    try:
        return retrying(request)
    except Exception as error:
        if isinstance(error, LaionXRError) or not (is_foreign(error) or isinstance(error, _WRAPPED)):
            raise
        found = explained(error, what(), int(retrying.statistics["attempt_number"]), time.monotonic() - started)
        # where it is not the network's doing, the traceback says whose
        raise found from None if is_transient(error) or not isinstance(found, LaionXRError) else error


def explained(error: Exception, what: str, attempts: int = 1, seconds: float = 0.0) -> Exception:
    """Return the error to raise for one of a file system or the library below it."""
    reason = _reason(error)
    status = status_of(error)
    if isinstance(error, FileNotFoundError) or status in MISSING_STATUS:
        return FileNotFoundError(reason)
    if isinstance(error, PermissionError) or status in REFUSED_STATUS or _is_any(error, _NO_CREDENTIALS):
        return PermissionError(reason)
    if is_transient(error):
        tried = f"{attempts} attempts in {seconds:.0f} s" if attempts > 1 else "one attempt"
        asked = retry_after(error)
        later = "later" if asked is None else f"in {asked:.0f} s, as the server asks"
        return UnreachableError(
            f"{what} cannot be reached: expected an answer, found after {tried}: {reason}. Check the network and the "
            f"address (with S3 also endpoint_url in storage_options), or try again {later}."
        )
    return UnreachableError(
        f"{what} cannot be used: {reason}. Check the address and the storage_options; this error does not pass, so it "
        "was not tried again."
    )


def is_transient(error: BaseException) -> bool:
    """Whether a failure may pass: server errors, throttling, connections that break or are not made, timeouts."""
    if isinstance(error, LaionXRError) or not isinstance(error, Exception):
        return False
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT_STATUS
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return False
    if isinstance(error, TimeoutError) or _is_any(error, _BROKEN_CONNECTION):
        return True
    return isinstance(error, OSError) and error.errno in _BROKEN_ERRNO


def is_foreign(error: BaseException) -> bool:
    """Whether an error is the word of a server, or of a library that talks to one."""
    if type(error).__module__.partition(".")[0] in _LIBRARIES or _is_any(error, _NO_CREDENTIALS):
        return True
    return status_of(error) is not None or is_transient(error)


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status of the answer behind an error; None where none says.

    As aiohttp (`status`), botocore (a dict in `response`) and requests (`response.status_code`) keep it.
    """
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            said = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            said = getattr(response, "status_code", None)
        status = said if said is not None else getattr(error, "status", None)
        if isinstance(status, int) and status >= 300:
            return status
        error = error.__cause__
    return None


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that a server asks to wait (`Retry-After`: seconds, or a date); None where none says."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
        else:
            headers = getattr(response, "headers", None) or getattr(error, "headers", None)
        for name, value in dict(headers or {}).items():
            if str(name).lower() == "retry-after":
                return _seconds(str(value))
        error = error.__cause__
    return None


def _seconds(text: str) -> float | None:
    if text.strip().isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    # "-0000": a time whose zone is not said, which is UTC
    known = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0.0, (known - datetime.now(UTC)).total_seconds())


def _is_any(error: BaseException, names: frozenset[str]) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    name = type(error).__name__
    return f"{name}: {text}" if text and not isinstance(error, PermissionError) else text or name


def _tell(state: RetryCallState, what: str) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    pause = state.next_action.sleep if state.next_action is not None else 0.0
    # the first pauses are short; after that a user wonders why nothing happens
    level = logging.WARNING if state.attempt_number > 3 else logging.INFO
    reason = _reason(error) if isinstance(error, Exception) else "no answer"
    _LOG.log(level, "%s: %s; attempt %d of %d in %.1f s", what, reason, state.attempt_number + 1, ATTEMPTS, pause)
