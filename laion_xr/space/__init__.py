"""Results in space: images, the cortical surface, a template; `.laion` has the functions as methods."""

from laion_xr.space.masker import VoxelMasker, masker
from laion_xr.space.meshes import surface_mesh
from laion_xr.space.rois import surface_rois
from laion_xr.space.surfaces import nearest_vertices, to_surface
from laion_xr.space.template import template_points, to_template

__all__ = [
    "VoxelMasker",
    "masker",
    "nearest_vertices",
    "surface_mesh",
    "surface_rois",
    "template_points",
    "to_surface",
    "to_template",
]
