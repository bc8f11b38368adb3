"""The notices that the published examples print, in the words of this package."""

from laion_xr.access.configuration import PUBLISHED_ACCESS_URL
from laion_xr.access.licence import NOTICE
from laion_xr.compat.subject import resolve_subject_id

__all__ = ["LICENSE_AGREEMENT_BODY", "STIMULI_LICENSE_BODY", "resolve_subject_id"]

LICENSE_AGREEMENT_BODY = NOTICE
STIMULI_LICENSE_BODY = (
    "LAION-fMRI: stimulus images\n\nThey belong to others, are given for research under a Data Use Agreement, and may "
    f"not be passed on. The agreement that is in force: {PUBLISHED_ACCESS_URL}/terms\n"
)
