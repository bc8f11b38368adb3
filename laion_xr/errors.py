"""The errors of laion_xr: one base, a few narrow classes, and the wording of "did you mean".

Each message is one sentence or two: what was expected, what was found (file, value), what to do.
Imported by every module; imports none.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LaionXRError(Exception):
    """Base of everything that laion_xr raises on purpose."""


class DataDirNotSetError(LaionXRError):
    """A bare subject name was given and no data folder is configured."""


class DataNotDownloadedError(LaionXRError, FileNotFoundError):
    """A file of the dataset that is needed here is not on disk."""


class StimuliNotDownloadedError(LaionXRError, FileNotFoundError):
    """A stimulus file (images, embeddings, captions, ...) that is needed here is not on disk."""


class SubjectNotFoundError(LaionXRError, ValueError):
    """The subject is not in this dataset."""


class LicenseNotAcceptedError(LaionXRError, RuntimeError):
    """The Data Use Agreement has not been accepted."""


class ConfigurationError(LaionXRError, ValueError):
    """A setting that does not exist, or a configuration file that cannot be used."""


class AccessServiceError(LaionXRError, RuntimeError):
    """The service that gives access to the images refused, or answered something that cannot be used."""


class TermsOutdatedError(AccessServiceError):
    """The agreement on the images has changed since it was accepted."""


class AccessRevokedError(AccessServiceError):
    """Access to the images was taken back."""


class AccessNotFoundError(AccessServiceError):
    """The access service does not know the request id."""


class TooManyRequestsError(AccessServiceError):
    """The access service was asked too often; the message says when to ask again."""


class NotALaionDatasetError(LaionXRError, FileNotFoundError):
    """The folder or address does not hold a LAION-fMRI dataset."""


class UnknownLabelError(LaionXRError, KeyError, ValueError):
    """A label (ROI, session, stimulus, ...) that does not exist.

    A `KeyError`, as xarray's own, and a `ValueError`, as the published loader's.
    """

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; this one is a sentence.
        return str(self.args[0]) if self.args else ""


class SelectionError(LaionXRError, ValueError):
    """Arguments of a selection that contradict each other or mean nothing."""


class SplitLeakageError(SelectionError):
    """An image on both sides of a split."""


class SplitsNotAvailableError(LaionXRError, FileNotFoundError):
    """A published split file is not on this machine and cannot be downloaded."""


class FileFormatError(LaionXRError, ValueError):
    """A file that does not hold what its place in the layout promises."""


class CorruptFileError(FileFormatError):
    """A file that is truncated or whose checksum fails."""


class TrialTableError(FileFormatError):
    """A trial table that does not fit the betas that it describes."""


class StoreError(LaionXRError, RuntimeError):
    """A store that cannot be written, read or trusted."""


class FileAccessError(LaionXRError, PermissionError):
    """A file that is there and may not be read."""


class NoSpaceError(LaionXRError, OSError):
    """A disk has not enough room for what is to be written."""


class UnsafePathError(LaionXRError, ValueError):
    """A path of a listing or a manifest that would lead out of the folder that it is for."""


class AddressError(LaionXRError, ValueError):
    """An address, or options of one, that no file system understands."""


class UnreachableError(LaionXRError, ConnectionError):
    """A place that does not answer, or not with what was asked for; the message says what was tried."""


class MissingExtraError(LaionXRError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class ReadCostWarning(UserWarning):
    """What was asked for works, and costs more reading than it seems."""


class ClampedWarning(UserWarning):
    """Less runs at once than was asked for, so that it fits into memory."""


class StaleStoreWarning(UserWarning):
    """A store holds a session that was made from other data than those that are there now; it is not used."""


class ConstantVoxelsWarning(UserWarning):
    """Voxels without variance: what divides by it is NaN."""


class NotStoredWarning(UserWarning):
    """A session was read, and could not be kept in the store as `write_through` asks."""


class SecretExposedWarning(UserWarning):
    """Others could read a file that holds a secret; it was closed to them."""


class CacheWarning(UserWarning):
    """What was read cannot be kept in the cache; the work goes on without it."""


class IncompleteDataWarning(UserWarning):
    """Part of the dataset is missing; the rest was opened."""


def closest(name: object, known: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` of the known names that look most like `name`, best first."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[m] for m in difflib.get_close_matches(str(name).lower(), by_lower, n=n, cutoff=0.5)]


def describe_names(known: Iterable[object], limit: int = 20) -> str:
    """Return a short listing of names: all of them, or the first `limit` and the count."""
    names = [str(k) for k in known]
    if not names:
        return "none"
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def did_you_mean(kind: str, name: object, known: Iterable[object]) -> str:
    """Return the sentence for an unknown name: what was asked, the closest names, what there is."""
    names = [str(k) for k in known]
    near = closest(name, names)
    hint = f" Did you mean {' or '.join(repr(m) for m in near)}?" if near else ""
    return f"{kind} {name!r} does not exist here.{hint} There are: {describe_names(names)}."


def unknown_label(kind: str, name: object, known: Iterable[object]) -> UnknownLabelError:
    """Return the error for a label that does not exist, with the closest ones and what there is."""
    return UnknownLabelError(did_you_mean(kind, name, known))


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """Return the error for an optional package that is not installed."""
    return MissingExtraError(
        f"{purpose} needs the package {package!r}, which is not installed: pip install 'laion-xr[{extra}]', or, in a "
        f"checkout of laion_xr, pip install -e '.[{extra}]'."
    )
