"""Spheres of triangles: the meshes of the simulated surfaces. numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def icosphere(order: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Return a unit sphere of triangles: an icosahedron whose triangles are split in four, `order` times.

    Parameters
    ----------
    order
        Number of splits; FreeSurfer's fsaverage is of order 7.

    Returns
    -------
    vertices : ndarray of float64, shape (10 * 4**order + 2, 3)
        The vertices of a lower order come first.
    triangles : ndarray of int32, shape (20 * 4**order, 3)
        Counter-clockwise seen from outside.
    """
    golden = (1 + np.sqrt(5)) / 2
    vertices = np.array(
        [(s, g, 0) for s in (-1, 1) for g in (golden, -golden)]
        + [(0, s, g) for s in (-1, 1) for g in (golden, -golden)]
        + [(g, 0, s) for s in (-1, 1) for g in (golden, -golden)],
        np.float64,
    )
    vertices /= np.linalg.norm(vertices[0])
    # the triangles are the triples of vertices at edge length from each other
    near = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1) < 1.1
    corners = [
        (a, b, c)
        for a in range(12)
        for b in range(a + 1, 12)
        for c in range(b + 1, 12)
        if near[a, b] and near[b, c] and near[a, c]
    ]
    triangles = np.array(corners, np.int32)
    inward = np.linalg.det(vertices[triangles]) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    for _ in range(order):
        vertices, triangles = _split(vertices, triangles)
    return vertices, triangles


def _split(
    vertices: npt.NDArray[np.float64], triangles: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    distinct, which = np.unique(edges, axis=0, return_inverse=True)
    middle = vertices[distinct].mean(axis=1)
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    ab, bc, ca = (which.reshape(3, -1) + len(vertices)).astype(np.int32)
    a, b, c = triangles.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([vertices, middle]), np.concatenate([np.stack(part, axis=1) for part in parts])
