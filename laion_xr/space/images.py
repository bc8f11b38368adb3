"""Images from files: opened, and their values read, with what is wrong said of the file."""

from __future__ import annotations

import os
import zlib
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from laion_xr.analysis.labelled import check_numbers
from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileAccessError, FileFormatError, SelectionError


def load_image(img: Any) -> tuple[SpatialImage, str]:
    """Return an image, given as one or as a path, and how messages call it; its values are not read.

    Raises
    ------
    SelectionError
        Neither an image nor a path.
    DataNotDownloadedError, FileAccessError, FileFormatError
        A path where no image is, or none that may be read.
    """
    if isinstance(img, SpatialImage):
        return img, img.get_filename() or "the image"
    if not isinstance(img, (str, os.PathLike)):
        raise SelectionError(f"Expected a NIfTI image or its path, found {type(img).__name__}.")
    name = os.fspath(img)
    try:
        image = nib.load(img)
    except FileNotFoundError:
        raise DataNotDownloadedError(f"There is no image {name}: check the path.") from None
    except PermissionError:
        raise FileAccessError(f"{name} may not be read: give yourself the right to, or copy it.") from None
    except (ImageFileError, HeaderDataError, EOFError, OSError, zlib.error) as error:
        raise FileFormatError(f"{name} is not an image that nibabel reads: {_line(error)}.") from None
    if not isinstance(image, SpatialImage):
        raise FileFormatError(f"{name} is not a volume, it is a {type(image).__name__}.")
    return image, name


def image_values(image: SpatialImage, name: str) -> npt.NDArray[Any]:
    """Return the values of an image, real numbers.

    Raises
    ------
    SelectionError
        They are complex, or colours.
    DataNotDownloadedError, FileAccessError, CorruptFileError
        The file of the image is not there any more, may not be read, or is cut short or damaged.
    """
    check_numbers(image.get_data_dtype(), f"colours ({name})")
    try:
        return np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise DataNotDownloadedError(f"There is no image {name} any more: check the path.") from None
    except PermissionError:
        raise FileAccessError(f"{name} may not be read: give yourself the right to, or copy it.") from None
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise CorruptFileError(
            f"{name} is truncated or damaged ({_line(error)}): make it or download it again."
        ) from None


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
