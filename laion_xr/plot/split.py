"""Train and test images in the space of their features: whether the test side is near the train side, or far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from laion_xr.analysis.stimuli import embeddings
from laion_xr.errors import SelectionError, describe_names
from laion_xr.plot.arguments import checked, one_of
from laion_xr.plot.arguments import features as features_rule
from laion_xr.plot.style import LARGE, MEDIUM, OKABE_ITO, SMALL, Picture, ink, plain
from laion_xr.schema import STIMULUS

FloatArray = npt.NDArray[np.floating]
_COLOURS = {"train": OKABE_ITO[0], "test": OKABE_ITO[1]}
_MARKERS = {"train": "o", "test": "^"}
_DISTANCES_OF = 1000  # images of the train side whose own neighbours are looked for: all pairs are many


class Projection(NamedTuple):
    """Points on principal components.

    Attributes
    ----------
    points
        float64 (image, component).
    explained
        Share of the variance on each component, 0 to 1.
    """

    points: FloatArray
    explained: FloatArray


@checked(features=features_rule(), method=one_of("pca"))
def split(
    train: xr.Dataset | xr.DataArray,
    test: xr.Dataset | xr.DataArray,
    features: xr.DataArray | str = "CLIP",
    *,
    method: str = "pca",
    title: str | None = None,
) -> Figure:
    """Draw the images of two sides, each once, in the plane of the first two principal components of their features.

    Beside the plane lie how the images of each side are spread along each component, and below it how far, in all
    features, a test image is from the nearest train image, and a train image from its nearest other: a split that
    tests generalisation has the first larger than the second.

    Parameters
    ----------
    train, test
        The two sides that `ds.laion.split(...)` returns; any Dataset or array with the coordinate `stimulus`.
    features
        A model whose embeddings are read, or features `(stimulus, feature)`, matched by their names.
    method
        `"pca"`: principal components of the features of both sides together, centred, not scaled.
    title
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `.savefig(path)`. Images without features (NaN) are left out, and counted.

    Raises
    ------
    SelectionError
        A side without images, features without a name for an image, or too few of them; another `method`.
    StimuliNotDownloadedError
        The embeddings are not there.

    Examples
    --------
    >>> train, test = ds.laion.split("ood")  # doctest: +SKIP
    >>> laion_xr.plot.split(train, test).savefig("ood.png")  # doctest: +SKIP
    """
    sides, lost = {}, 0
    for name, side in (("train", train), ("test", test)):
        found = _features(side, features, name)
        usable = np.isfinite(found).all(axis=1)
        lost += int((~usable).sum())
        sides[name] = found[usable]
        if not usable.any():
            raise SelectionError(f"split: no image of the {name} side has features; choose other features=.")
    joined = np.concatenate(list(sides.values()))
    if len(joined) < 3 or joined.shape[1] < 2:
        raise SelectionError(
            f"split needs three images or more and two features or more, found {len(joined)} and {joined.shape[1]}."
        )
    projection = principal_components(joined)
    points = dict(zip(sides, np.split(projection.points, [len(sides["train"])]), strict=True))
    space = plain(features if isinstance(features, str) else "features" if features.name is None else features.name)
    figure = Picture(figsize=(7.2, 6.2 + (0.3 if title else 0)), layout="constrained")
    grid = figure.subplots(2, 2, width_ratios=(5, 1), height_ratios=(1, 5), squeeze=False)
    grid[0, 1].set_axis_off()
    main: Axes = grid[1, 0]
    grid[0, 0].sharex(main)
    grid[1, 1].sharey(main)
    for name, at in points.items():
        many = len(at) > 500
        main.scatter(
            at[:, 0],
            at[:, 1],
            s=8 if many else 22,
            c=_COLOURS[name],
            marker=_MARKERS[name],
            alpha=0.4 if many else 0.8,
            linewidths=0,
            label=f"{name} ({len(at):,} images)",
        )
    for axis, margin in ((0, grid[0, 0]), (1, grid[1, 1])):
        _margin(margin, {name: at[:, axis] for name, at in points.items()}, bool(axis))
        share = f"component {axis + 1} of {space}, {100 * projection.explained[axis]:.1f} % of the variance"
        (main.set_ylabel if axis else main.set_xlabel)(share, fontsize=MEDIUM)
    main.tick_params(labelsize=SMALL)
    figure.legend(
        *main.get_legend_handles_labels(), loc="outside lower left", fontsize=MEDIUM, markerscale=1.5, frameon=False
    )
    across, within = nearest(sides["test"], sides["train"]), nearest(sides["train"])
    said = [
        f"distance to the nearest train image in {space} (median)",
        f"of a test image {np.median(across):.3g}, of a train image {np.median(within):.3g}",
    ]
    if lost:
        said.append(f"{lost} image{'s' * (lost > 1)} without features left out")
    figure.text(0.98, 0.01, "\n".join(said), ha="right", va="bottom", fontsize=SMALL, color=ink())
    if title:
        figure.suptitle(plain(title), fontsize=LARGE)
    return figure


def principal_components(features: FloatArray, n: int = 2) -> Projection:
    """Return the first principal components of (image, feature); the sign makes the largest loading positive."""
    centred = features - features.mean(axis=0)
    # of a tall matrix the singular values and right vectors are those of its small triangle
    small = np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred
    _, singular, axes = np.linalg.svd(small, full_matrices=False)
    axes = axes[:n] * np.sign(np.take_along_axis(axes[:n], np.abs(axes[:n]).argmax(1)[:, None], 1))
    total = float((singular**2).sum()) or 1.0
    return Projection(centred @ axes.T, singular[:n] ** 2 / total)


def nearest(images: FloatArray, others: FloatArray | None = None) -> FloatArray:
    """Return the Euclidean distance (image,) to the nearest of `others`; left out, to the nearest other image.

    Of the images themselves at most 1000, evenly spaced, are asked.
    """
    if others is None:
        if len(images) < 2:
            return np.full(len(images), np.nan)
        picks = np.unique(np.linspace(0, len(images) - 1, min(len(images), _DISTANCES_OF)).astype(int))
        asked, others = images[picks], images
    else:
        asked, picks = images, None
    found = np.empty(len(asked))
    norms = (others**2).sum(1)
    for start in range(0, len(asked), 256):
        rows = asked[start : start + 256]
        squared = (rows**2).sum(1)[:, None] + norms - 2 * rows @ others.T
        if picks is not None:
            squared[np.arange(len(rows)), picks[start : start + 256]] = np.inf
        at = squared.argmin(1)
        # again from the difference: the squares cancel where two images are close
        found[start : start + 256] = np.linalg.norm(rows - others[at], axis=1)
    return found


def _features(side: xr.Dataset | xr.DataArray, features: xr.DataArray | str, name: str) -> FloatArray:
    if STIMULUS not in side.coords:
        raise SelectionError(
            f"split: the {name} side has no coordinate 'stimulus', so its images are not known; keep it."
        )
    shown = np.atleast_1d(side.coords[STIMULUS].values)
    dim = side.coords[STIMULUS].dims
    names, first = np.unique(shown.astype(str), return_index=True)
    if not len(names):
        raise SelectionError(f"split: the {name} side has no image; choose other images.")
    if isinstance(features, str):
        one = side.coords[STIMULUS]
        one = one.isel({dim[0]: np.sort(first)}) if dim else one
        values = embeddings(one, features)
        return np.atleast_2d(np.asarray(values.values, dtype=np.float64))
    if features.ndim != 2 or STIMULUS not in features.coords or features.coords[STIMULUS].dims[0] not in features.dims:
        raise SelectionError(
            f"features are (stimulus, feature) with the coordinate 'stimulus', found dims {features.dims}; name the "
            "rows."
        )
    row = features.coords[STIMULUS].dims[0]
    place = {str(label): i for i, label in enumerate(features.coords[STIMULUS].values)}
    missing = [label for label in names if label not in place]
    if missing:
        raise SelectionError(
            f"split: {len(missing)} images of the {name} side have no features: {describe_names(missing, 3)}; give "
            "features of all images."
        )
    picked = features.transpose(row, ...).isel({row: [place[label] for label in shown[np.sort(first)].astype(str)]})
    return np.asarray(picked.values, dtype=np.float64)


def _margin(axes: Axes, points: dict[str, FloatArray], upright: bool) -> None:
    joined = np.concatenate(list(points.values()))
    edges = np.histogram_bin_edges(joined, bins=30)
    for name, at in points.items():
        axes.hist(
            at,
            bins=edges.tolist(),
            density=True,
            histtype="step",
            linewidth=1.5,
            color=_COLOURS[name],
            linestyle="-" if name == "train" else "--",
            orientation="horizontal" if upright else "vertical",
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelbottom=False, labelleft=False)
    axes.set_xticks([]) if upright else axes.set_yticks([])
    (axes.set_xlabel if upright else axes.set_ylabel)("density", fontsize=SMALL)
