"""Who asks for the images, and that the agreement on them was accepted: by arguments, or by asking at the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping

from laion_xr.access.credentials import REQUEST_ID_VARIABLE, request_id, request_id_path, save_request_id
from laion_xr.access.licence import someone_is_there
from laion_xr.access.service import AccessService, Applicant, Grant
from laion_xr.errors import (
    AccessNotFoundError,
    AccessServiceError,
    LicenseNotAcceptedError,
    SelectionError,
    TermsOutdatedError,
)

DETAILS = ("name", "email", "institution", "research_purpose")


def granted(service: AccessService, details: Mapping[str, str | None], accepted: bool) -> Grant:
    """Return links: for the request id that is kept, else for one that is asked for now, and kept.

    Parameters
    ----------
    service
        What gives them.
    details
        Who asks; what is missing is asked for at a terminal.
    accepted
        Whether whoever calls has accepted the agreement.

    Raises
    ------
    SelectionError
        A detail is no text.
    LicenseNotAcceptedError
        It was declined, or there is nobody to ask.
    AccessServiceError
        The service refused, or details are missing.
    UnreachableError
        It does not answer.
    """
    for key, value in details.items():
        if value is not None and not isinstance(value, str):
            raise SelectionError(f"{key}={value!r} is not understood: expected a text.")
    known = request_id(service.url)
    complete = accepted and all(details.get(key) for key in DETAILS)
    if known is not None:
        try:
            return service.refresh(known)
        except (AccessNotFoundError, TermsOutdatedError) as error:
            # terms that have changed are accepted as the first were, with a new request
            asks = complete or (isinstance(error, TermsOutdatedError) and someone_is_there())
            # an id of the environment would be taken the next time too
            if not asks or os.environ.get(REQUEST_ID_VARIABLE, "").strip():
                raise
    version = service.terms_version()
    if not complete:
        details = _asked(service, details, accepted, version)
    said = {key: (value or "").strip() for key, value in details.items()}
    applicant = Applicant(
        said["name"],
        said["email"],
        said["institution"],
        said["research_purpose"],
        said.get("pi_or_supervisor") or None,
    )
    grant = service.request(applicant, version)
    save_request_id(grant.request_id, service.url, applicant.email)
    return grant


def _asked(service: AccessService, details: Mapping[str, str | None], accepted: bool, version: str) -> dict[str, str]:
    """Return the details and have the agreement accepted, by asking at the terminal what is missing."""
    terms = f"{service.url}/terms (version {version})"
    missing = [key for key in DETAILS if not details.get(key)]
    if not someone_is_there():
        if not accepted:
            raise LicenseNotAcceptedError(
                f"The images are given under an agreement, {terms}, which has not been accepted, and there is no "
                f"terminal to ask at: read it, then pass accept_licenses=True with {', '.join(DETAILS)}; or set "
                f"{REQUEST_ID_VARIABLE} to the id of an earlier request, or copy {request_id_path()} from where you "
                "made one."
            )
        raise AccessServiceError(
            f"The access service wants to know who asks for the images: expected {', '.join(DETAILS)}, found no "
            f"{', '.join(missing)}, and there is no terminal to ask at; pass them."
        )
    print(
        "The stimulus images belong to others, and are given for research under an agreement.\n"
        f"  Agreement: {terms}\n  Privacy:   {service.url}/privacy\n"
    )
    questions = {
        "name": "Full name: ",
        "email": "E-mail at your institution: ",
        "institution": "Institution: ",
        "pi_or_supervisor": "Supervisor (may be left empty): ",
        "research_purpose": "What will you use the images for (a sentence or two)? ",
    }
    found = {key: details.get(key) or _answer(questions[key]) for key in questions}
    if missing := [key for key in DETAILS if not found[key]]:
        raise AccessServiceError(f"The access service wants to know {', '.join(missing)}: nothing was requested.")
    if not accepted and _answer(f"I accept the agreement, version {version} (type yes): ").lower() != "yes":
        raise LicenseNotAcceptedError(f"The agreement {terms} was not accepted: nothing was requested.")
    return found


def _answer(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ""
