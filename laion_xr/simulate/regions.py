"""The simulated ROIs: the published names, where each lies on a hemisphere, and the voxels that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from laion_xr.simulate.brain import Brain, FloatArray, IntArray
from laion_xr.simulate.streams import stream


class Region(NamedTuple):
    """A cap on each hemisphere: around a direction (lateral, anterior, superior), up to an angle in degrees."""

    category: str
    direction: tuple[float, float, float]
    angle: float
    leaves_brain: bool = False  # goes on beyond the pial surface, by half the cortex's depth


REGIONS: Mapping[str, Region] = {
    "V1v": Region("retinotopy", (-0.30, -0.90, -0.20), 17),
    "V1d": Region("retinotopy", (-0.30, -0.90, 0.20), 17),
    "V2v": Region("retinotopy", (-0.05, -0.90, -0.40), 15),
    "V2d": Region("retinotopy", (-0.05, -0.90, 0.40), 15),
    "V3v": Region("retinotopy", (0.10, -0.80, -0.60), 15),
    "V3d": Region("retinotopy", (0.10, -0.80, 0.60), 15),
    "hV4": Region("retinotopy", (0.30, -0.65, -0.70), 15),
    "VO1": Region("retinotopy", (0.05, -0.50, -0.85), 14),
    "VO2": Region("retinotopy", (0.05, -0.30, -0.95), 14),
    "LO1": Region("retinotopy", (0.55, -0.85, 0.05), 15),
    "LO2": Region("retinotopy", (0.70, -0.70, -0.05), 15),
    "TO1": Region("retinotopy", (0.85, -0.50, 0.05), 14),
    "TO2": Region("retinotopy", (0.92, -0.35, 0.02), 13),
    "V3A": Region("retinotopy", (0.25, -0.70, 0.70), 14),
    "V3B": Region("retinotopy", (0.45, -0.65, 0.60), 14),
    "IPS0": Region("retinotopy", (0.30, -0.45, 0.85), 15, True),
    "IPCS": Region("retinotopy", (0.75, 0.45, 0.50), 13),
    "SPCS": Region("retinotopy", (0.45, 0.40, 0.80), 13),
    "FFA1": Region("face", (0.45, -0.35, -0.82), 17),
    "FFA2": Region("face", (0.50, -0.05, -0.86), 16),
    "OFA": Region("face", (0.65, -0.70, -0.30), 15),
    "pSTSfaces": Region("face", (0.92, -0.25, 0.30), 16),
    "EBA": Region("body", (0.85, -0.52, -0.10), 19),
    "FBA": Region("body", (0.60, -0.22, -0.77), 16),
    "OPA": Region("place", (0.60, -0.60, 0.50), 16),
    "PPA": Region("place", (-0.10, -0.15, -0.98), 17),
    "MPA": Region("place", (-0.75, -0.55, 0.35), 15),
    "VWFA1": Region("character", (0.70, -0.40, -0.60), 15),
    "VWFA2": Region("character", (0.75, -0.15, -0.64), 15),
    "mfswords": Region("character", (0.62, 0.05, -0.78), 13),
    "pSTSwords": Region("character", (0.95, -0.10, 0.28), 15),
    "lobjects": Region("object", (0.78, -0.62, 0.05), 20),
    "vobjects": Region("object", (0.35, -0.45, -0.82), 20),
    "MT": Region("motion", (0.90, -0.42, 0.10), 14),
    "MST": Region("motion", (0.92, -0.30, 0.18), 13),
    "laionEVC": Region("laion", (-0.10, -0.97, 0.00), 33),
    "laionventral": Region("laion", (0.35, -0.40, -0.85), 38),
    "laionlateral": Region("laion", (0.88, -0.45, 0.05), 36, True),
    "laiondorsal": Region("laion", (0.30, -0.65, 0.70), 34),
    "laiongeneral": Region("laion", (0.35, -0.90, 0.00), 50),
}
# Localisers that not every subject shows
UNCERTAIN = ("MPA", "VWFA2", "mfswords", "IPCS", "TO2")


def empty_regions(seed: int, subject: str) -> tuple[str, ...]:
    """Return the ROIs that are empty for a subject: one or two."""
    rng = stream(seed, subject, "empty")
    return tuple(sorted(str(n) for n in rng.choice(UNCERTAIN, int(rng.integers(1, 3)), replace=False)))


def region_voxels(
    region: Region, brain: Brain, voxels: IntArray, depth: FloatArray, directions: FloatArray, hemisphere: IntArray
) -> IntArray:
    """Return the C-order ids of a region's voxels, sorted; at least one a hemisphere, however small the grid.

    The arrays describe the voxels near the brain: ids, and what `Brain.locate` says of them.
    """
    centre = np.array(region.direction) / np.linalg.norm(region.direction)
    outer = 1 + 0.5 * (1 - brain.inner) * region.leaves_brain
    inside = (directions @ centre >= np.cos(np.deg2rad(region.angle))) & (depth >= brain.inner) & (depth <= outer)
    for side in (0, 1):
        here = np.flatnonzero((hemisphere == side) & (depth <= 1))
        if len(here) and not inside[here].any():
            nearest = here[np.argmin(np.linalg.norm(directions[here] - centre, axis=1) + (depth[here] < brain.inner))]
            inside[nearest] = True
    ids: IntArray = voxels[inside]
    return ids
