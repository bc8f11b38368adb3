"""Data for other tools: Brain-Score, NumPy, NIfTI files, rsatoolbox.

Free functions, each also a method of `.laion`; nothing is read before one is called that writes or must have values.
"""

from laion_xr.exports.assembly import from_assembly, to_assembly
from laion_xr.exports.nifti_folder import to_nifti_folder
from laion_xr.exports.numpy_folder import read_numpy, to_numpy
from laion_xr.exports.rsatoolbox import to_rsatoolbox

__all__ = ["from_assembly", "read_numpy", "to_assembly", "to_nifti_folder", "to_numpy", "to_rsatoolbox"]
