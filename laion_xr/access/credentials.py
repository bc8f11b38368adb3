"""The request id, which opens the images: held so that nothing shows it, kept in a file that only its owner reads.

The file and the variable are those of the published loader: who has access with one has it with the other.
"""

from __future__ import annotations

import hmac
import json
import os
import stat
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from laion_xr.access.private import write_private
from laion_xr.errors import AccessServiceError, SecretExposedWarning

REQUEST_ID_VARIABLE = "LAION_FMRI_REQUEST_ID"
_HIDDEN = "<hidden>"


class Secret:
    """A text that is not shown: not by `repr` and `str`, not in a message, and not in a pickle.

    Parameters
    ----------
    value
        The text; `reveal` returns it, for the request that needs it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text: for a request, never for a variable that outlives it."""
        return self._value

    def __repr__(self) -> str:
        return _HIDDEN

    def __format__(self, spec: str) -> str:
        return _HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied: it would be written where others read it")


def request_id_path() -> Path:
    """Return the file that keeps the request id, where the published loader has it; it need not exist."""
    return Path.home() / ".cache" / "laion-fmri" / "auth.json"


def request_id(service: str) -> Secret | None:
    """Return the request id: of `LAION_FMRI_REQUEST_ID`, else of the file, else None.

    A file that others may read is made its owner's, with a warning.

    Parameters
    ----------
    service
        Address of the service that it is for; one that is kept for another service is not sent there.

    Raises
    ------
    AccessServiceError
        The file cannot be read, does not hold a request id, belongs to another service, or is open to others and not
        ours to change.
    """
    if value := os.environ.get(REQUEST_ID_VARIABLE, "").strip():
        return Secret(value)
    path = request_id_path()
    try:
        # what the file holds is in no variable of this frame: tracebacks with local variables show those
        found, server = _kept(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AccessServiceError(
            f"The request id in {path} cannot be read ({error.strerror}): check the file's permissions, or set the "
            f"environment variable {REQUEST_ID_VARIABLE}."
        ) from None
    if found is None:
        raise AccessServiceError(
            f"{path} holds no request id: expected a JSON object with 'request_id'. Delete it to ask for access anew, "
            f"or set the environment variable {REQUEST_ID_VARIABLE}."
        )
    if server is not None and server.rstrip("/") != service:
        raise AccessServiceError(
            f"The request id in {path} is for {server}, and is not sent to {service}: set the environment variable "
            f"{REQUEST_ID_VARIABLE} to one for this service, or move the file away to ask for access anew."
        )
    return found


def save_request_id(found: Secret, service: str, email: str | None = None) -> Path:
    """Keep a request id in its file, which only its owner may read, from the first byte on. Returns the file.

    Raises
    ------
    AccessServiceError
        The file cannot be written.
    """
    path = request_id_path()
    problem = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, _record(found, service, email))
    except OSError as error:
        problem = error.strerror
    # out of the handler: the frames of what failed hold the id, and must not even be this error's context
    if problem is not None:
        raise AccessServiceError(
            f"The request id cannot be kept in {path} ({problem}): make room or get permission, and run the same again."
        )
    return path


def _record(found: Secret, service: str, email: str | None) -> bytes:
    record = {
        "server_url": service,
        "request_id": found.reveal(),
        "email": email,
        "saved_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(record, indent=2).encode()


def _kept(path: Path) -> tuple[Secret | None, str | None]:
    """Return the id that a file holds and the service that it is for; an id that is not there is None."""
    with path.open("rb") as file:
        _keep_to_owner(file.fileno(), path)
        return _parsed(file.read())


def _keep_to_owner(handle: int, path: Path) -> None:
    if os.name != "posix":
        return  # the folder of a user is closed to others there
    said = os.fstat(handle)
    mode = stat.S_IMODE(said.st_mode)
    if not mode & 0o077:
        return
    try:
        os.fchmod(handle, 0o600)
    except OSError:
        raise AccessServiceError(
            f"{path} holds the request id, which is a secret, and others may read it (mode {mode:04o}): expected mode "
            "0600, and it is not ours to change; `chmod 600` it, or have its owner do so."
        ) from None
    warnings.warn(
        f"{path} holds the request id, which is a secret, and others could read it (mode {mode:04o}): it is now yours "
        "alone (0600). If others use this machine, ask for access anew.",
        SecretExposedWarning,
        stacklevel=5,
    )


def _parsed(text: bytes) -> tuple[Secret | None, str | None]:
    try:
        record = json.loads(text)
    except ValueError:
        return None, None
    if not isinstance(record, dict):
        return None, None
    value, server = record.get("request_id"), record.get("server_url")
    stripped = value.strip() if isinstance(value, str) else ""
    return Secret(stripped) if stripped else None, server if isinstance(server, str) and server else None
