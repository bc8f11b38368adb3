"""What is in the public bucket: `get_subjects`, `get_rois`, `describe`, `inspect_bucket` of the published loader."""

from __future__ import annotations

import warnings

from laion_xr import layout
from laion_xr.access.bucket import BUCKET
from laion_xr.errors import IncompleteDataWarning
from laion_xr.location import Location

__all__ = ["describe", "get_rois", "get_subjects", "inspect_bucket"]

SUBJECT_FOLDERS = (layout.BETAS_DIR, layout.ROIS_DIR)


def bucket() -> Location:
    """Return the place that is asked: the public bucket, anonymously."""
    return Location.of(BUCKET)


def get_subjects() -> list[str]:
    """Return the sorted names of the subjects in the bucket.

    Raises
    ------
    UnreachableError
        The bucket does not answer.
    """
    place = bucket()
    found = sorted({name for folder in SUBJECT_FOLDERS for name in place.folders(folder) if layout.is_subject(name)})
    if not found:
        warnings.warn(
            f"No subjects found in {place.url}: expected folders in {' or '.join(SUBJECT_FOLDERS)}.",
            IncompleteDataWarning,
            stacklevel=2,
        )
    return found


def get_rois(subject: str | None = None, category: str | None = None) -> list[str]:
    """Return the sorted names of a subject's ROIs in the bucket.

    Parameters
    ----------
    subject
        Its name; the first subject for None.
    category
        Of one category only.
    """
    if subject is None:
        subjects = get_subjects()
        if not subjects:
            return []
        subject = subjects[0]
    place, name = bucket(), layout.subject_name(subject)
    parsed = [layout.parse_roi_path(entry.path) for entry in place.files(layout.roi_dir(name))]
    volumes = [file for file in parsed if file is not None and file.form == "volume"]
    found = sorted({file.roi for file in volumes if category in (None, file.category)})
    if not found:
        warnings.warn(
            f"No ROIs found in {place.show(layout.roi_dir(name))}{f' of the category {category}' if category else ''}.",
            IncompleteDataWarning,
            stacklevel=2,
        )
    return found


def describe() -> None:
    """Print what the bucket holds: the subjects, and the ROIs of the first."""
    subjects = get_subjects()
    print("LAION-fMRI Dataset")
    print(f"  Bucket:    {bucket().url}")
    print(f"  Subjects:  {len(subjects)} ({', '.join(subjects) or 'none'})")
    if subjects and (rois := get_rois(subjects[0])):
        print(f"  ROIs:      {', '.join(rois)}")


def inspect_bucket() -> None:
    """Print the folders at the top of the bucket, and how many subjects each folder of subjects has."""
    place = bucket()
    top = place.folders("")
    print(f"Bucket: {place.url}")
    print(f"Top-level prefixes ({len(top)}):")
    for name in top:
        print(f"  {name}/")
    for folder in SUBJECT_FOLDERS:
        names = place.folders(folder)
        print(f"{folder}/: {len(names)} entries, {sum(map(layout.is_subject, names))} sub-* entries")
