"""Writes the FreeSurfer folder of a subject, and the ROIs on the surface as GIfTI and as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from nibabel.freesurfer.io import write_annot, write_geometry, write_morph_data
from nibabel.freesurfer.mghformat import MGHImage
from nibabel.gifti.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from laion_xr import layout
from laion_xr.simulate.files import replacing, write_bytes, write_text
from laion_xr.simulate.subjects import tissue_depth, tissue_image
from laion_xr.simulate.surfaces import Hemisphere, Points, hemispheres, roi_vertices
from laion_xr.simulate.truth import SubjectTruth

_STRUCTURES = {"L": "CortexLeft", "R": "CortexRight"}
# axes of FreeSurfer's conformed volumes: right to left, superior to inferior, posterior to anterior
_CONFORMED = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_ANNOTATED = ("V1v", "V1d", "hV4", "FFA1", "EBA", "PPA", "VWFA1", "MT")


def write_freesurfer(root: Path, subject: SubjectTruth) -> None:
    """Write `mri`, `surf` and `label` of a subject, and the surface files of its ROIs."""
    size = _write_volumes(root, subject)
    _write_transforms(root, subject, size)
    for hemisphere in hemispheres(subject):
        _write_surfaces(root, subject, hemisphere, size)
        _write_rois(root, subject, hemisphere)


def _write_volumes(root: Path, subject: SubjectTruth) -> int:
    """Write the conformed volumes: cubes of 1 mm voxels about `c_ras`; returns their size."""
    size = int(np.ceil(max(subject.brain.grid) * 1.778 / 2) * 2)
    affine = np.eye(4)
    affine[:3, :3] = _CONFORMED
    affine[:3, 3] = subject.c_ras - _CONFORMED @ np.full(3, size / 2)
    depth = tissue_depth(subject.brain, affine, (size, size, size))
    t1 = np.clip(tissue_image(subject, depth, "T1w") / 9, 0, 255).astype(np.uint8)
    for name, data in (("orig", t1), ("T1", t1), ("brainmask", np.where(depth <= 1, t1, 0).astype(np.uint8))):
        # nibabel goes by the ending, so the temporary name needs it too
        with replacing(root / layout.freesurfer_path(subject.name, "mri", f"{name}.mgz"), suffix=".mgz") as temporary:
            MGHImage(data, affine).to_filename(temporary)
    return size


def _write_transforms(root: Path, subject: SubjectTruth, size: int) -> None:
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in subject.mni305[:3])
    xfm = f"MNI Transform File\n% simulated\n\nTransform_Type = Linear;\nLinear_Transform =\n{rows};\n"
    write_text(root / layout.freesurfer_path(subject.name, "mri/transforms", "talairach.xfm"), xfm)
    matrix = "\n".join(" ".join(f"{value:.15e}" for value in row) for row in subject.mni305)
    lta = (
        "# transform file talairach.lta\n# simulated\n"
        "type      = 1 # LINEAR_RAS_TO_RAS\nnxforms   = 1\n"
        "mean      = 0.0000 0.0000 0.0000\nsigma     = 10000.0000\n"
        f"1 4 4\n{matrix}\n"
        f"src volume info\n{_volume_info('orig.mgz', size, subject.c_ras)}"
        f"dst volume info\n{_volume_info('mni305.cor.mgz', 256, np.zeros(3))}"
        f"subject {subject.name}\nfscale 0.150000\n"
    )
    write_text(root / layout.freesurfer_path(subject.name, "mri/transforms", "talairach.lta"), lta)


def _volume_info(name: str, size: int, centre: npt.NDArray[np.float64]) -> str:
    axes = "".join(
        f"{axis}ras   = {' '.join(f'{value:.15e}' for value in column)}\n"
        for axis, column in zip("xyz", _CONFORMED.T, strict=True)
    )
    return (
        f"valid = 1  # volume info valid\nfilename = {name}\nvolume = {size} {size} {size}\n"
        f"voxelsize = {' '.join(['1.000000000000000e+00'] * 3)}\n{axes}"
        f"cras   = {' '.join(f'{value:.15e}' for value in centre)}\n"
    )


def _write_surfaces(root: Path, subject: SubjectTruth, hemisphere: Hemisphere, size: int) -> None:
    prefix = hemisphere.name.lower() + "h"
    info = {
        "head": np.array([2, 0, 20], np.int32),
        "valid": "1  # volume info valid",
        "filename": "../mri/orig.mgz",
        "volume": np.full(3, size),
        "voxelsize": np.ones(3),
        "xras": _CONFORMED[:, 0],
        "yras": _CONFORMED[:, 1],
        "zras": _CONFORMED[:, 2],
        "cras": subject.c_ras,
    }
    surfaces = {
        "white": hemisphere.white - subject.c_ras,
        "pial": hemisphere.pial - subject.c_ras,
        "inflated": hemisphere.inflated - subject.c_ras,
        "sphere": hemisphere.sphere,
        "sphere.reg": hemisphere.sphere_reg,
    }
    for name, points in surfaces.items():
        with replacing(root / layout.freesurfer_path(subject.name, "surf", f"{prefix}.{name}")) as temporary:
            write_geometry(temporary, points, hemisphere.triangles, create_stamp="simulated", volume_info=info)
    outward = np.linalg.norm(hemisphere.pial - hemisphere.pial.mean(axis=0), axis=1)
    measures = {
        "thickness": np.linalg.norm(hemisphere.pial - hemisphere.white, axis=1),
        "sulc": outward.mean() - outward,
        "curv": 1 / outward,
    }
    for name, values in measures.items():
        with replacing(root / layout.freesurfer_path(subject.name, "surf", f"{prefix}.{name}")) as temporary:
            write_morph_data(temporary, values.astype(np.float32), fnum=len(hemisphere.triangles))

    parcels = np.zeros(len(outward), np.int32)
    for number, roi in enumerate(_ANNOTATED, start=1):
        parcels[roi_vertices(subject, hemisphere, roi)] = number
    colours = np.array([(25 + 28 * i, 220 - 25 * i, 60 + 91 * i % 190, 0, 0) for i in range(len(_ANNOTATED) + 1)])
    with replacing(root / layout.freesurfer_path(subject.name, "label", f"{prefix}.simulated.annot")) as temporary:
        write_annot(temporary, parcels, colours, ["unknown", *_ANNOTATED], fill_ctab=True)
    cortex = label_text(subject, hemisphere, np.arange(len(outward)))
    write_text(root / layout.freesurfer_path(subject.name, "label", f"{prefix}.cortex.label"), cortex)


def _write_rois(root: Path, subject: SubjectTruth, hemisphere: Hemisphere) -> None:
    for category, names in subject.categories.items():
        for roi in names:
            vertices = roi_vertices(subject, hemisphere, roi)
            path = root / layout.roi_path(subject.name, category, roi, "gifti", hemisphere.name)
            write_bytes(path, _gifti(hemisphere, vertices, roi))
            path = root / layout.roi_path(subject.name, category, roi, "label", hemisphere.name)
            write_text(path, label_text(subject, hemisphere, vertices))


def _gifti(hemisphere: Hemisphere, vertices: npt.NDArray[np.intp], name: str) -> bytes:
    mask = np.zeros(len(hemisphere.white), np.float32)
    mask[vertices] = 1
    kind = {"intent": "NIFTI_INTENT_SHAPE", "datatype": "NIFTI_TYPE_FLOAT32"}
    array = GiftiDataArray(mask, meta={"Name": name}, **kind)
    meta = GiftiMetaData({"AnatomicalStructurePrimary": _STRUCTURES[hemisphere.name]})
    return bytes(GiftiImage(darrays=[array], meta=meta).to_bytes())


def label_text(subject: SubjectTruth, hemisphere: Hemisphere, vertices: npt.NDArray[np.intp]) -> str:
    """Return a FreeSurfer label: vertex, position on the white surface (surface coordinates), value."""
    points: Points = hemisphere.white[vertices] - subject.c_ras
    rows = [f"{v}  {x:.3f}  {y:.3f}  {z:.3f} 0.0000000000" for v, (x, y, z) in zip(vertices, points, strict=True)]
    head = f"#!ascii label  , from subject {subject.name} vox2ras=TkReg"
    return "\n".join([head, str(len(rows)), *rows]) + "\n"
