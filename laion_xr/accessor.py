"""The accessor `.laion` on Datasets and DataArrays: thin, a line a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import nibabel as nib
import xarray as xr

from laion_xr.analysis.ceiling import noise_ceiling, reliability
from laion_xr.analysis.encoding import encode
from laion_xr.analysis.features import Features
from laion_xr.analysis.information import DatasetInfo, dataset_info
from laion_xr.analysis.permutation import permutation_test
from laion_xr.analysis.planning import ReadSummary, read_plan
from laion_xr.analysis.regions import roi_masks, sphere
from laion_xr.analysis.repeats import average_repeats
from laion_xr.analysis.rsa import rdm
from laion_xr.analysis.select import select
from laion_xr.analysis.spheres import searchlight
from laion_xr.analysis.splits import split, split_masks
from laion_xr.analysis.splits_folds import splits
from laion_xr.analysis.splits_published import list_pools, list_splits
from laion_xr.analysis.standardize import drop_nonfinite, zscore
from laion_xr.analysis.stimuli import captions, embeddings, images, segmentations, stimuli_of
from laion_xr.analysis.subjects import map_subjects, select_subjects, shared
from laion_xr.analysis.volumes import to_nifti
from laion_xr.exports import to_assembly, to_nifti_folder, to_numpy, to_rsatoolbox
from laion_xr.indexes import index_labels
from laion_xr.space import (
    VoxelMasker,
    masker,
    nearest_vertices,
    surface_mesh,
    surface_rois,
    template_points,
    to_surface,
    to_template,
)
from laion_xr.stimuli import Stimuli

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laion_xr.plot.namespace import Pictures
    from laion_xr.torch import TrialDataset, TrialStream

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)


class _Accessor(Generic[XarrayT]):
    def __init__(self, obj: XarrayT) -> None:
        self._obj: XarrayT = obj

    def sel(self, **labels: Any) -> XarrayT:
        """Select by any label, a sphere, or a mask: see `laion_xr.analysis.select`."""
        return select(self._obj, **labels)

    def index_labels(self) -> XarrayT:
        """Restore the label indexes (after `to_zarr`, `to_netcdf`, `drop_indexes`)."""
        return index_labels(self._obj)

    def to_nifti(
        self, values: Any = None, path: str | Path | None = None, fill: float = float("nan")
    ) -> nib.Nifti1Image:
        """Put values back into the grid as a NIfTI image: see `laion_xr.analysis.to_nifti`."""
        return to_nifti(self._obj, values, path, fill)

    def masker(self) -> VoxelMasker:
        """Return what takes these voxels out of images, and puts them back: see `laion_xr.space.masker`."""
        return masker(self._obj)

    def to_surface(self, values: Any = None, mesh: str = "fsnative", **options: Any) -> xr.DataArray:
        """Return values at the vertices of the cortical surface: see `laion_xr.space.to_surface`."""
        return to_surface(self._obj, values, mesh, **options)

    def to_template(self, values: Any = None, template: str = "MNI305", **options: Any) -> nib.Nifti1Image:
        """Return values resampled into a template's space: see `laion_xr.space.to_template`."""
        return to_template(self._obj, values, template, **options)

    def surface_rois(self, rois: str | Iterable[str] | None = None, **options: Any) -> xr.DataArray:
        """Return which vertices are in which ROI, bool (roi, vertex): see `laion_xr.space.surface_rois`."""
        return surface_rois(self._obj, rois, **options)

    def surface_mesh(self, surface: str = "inflated", mesh: str = "fsnative", **options: Any) -> dict[str, Any]:
        """Return the vertices and triangles of a surface: see `laion_xr.space.surface_mesh`."""
        return surface_mesh(self._obj, surface, mesh, **options)

    def nearest_vertices(self, points: Any = None, **options: Any) -> xr.DataArray:
        """Return the vertices nearest to places, or to the voxels: see `laion_xr.space.nearest_vertices`."""
        return nearest_vertices(self._obj, points, **options)

    def template_points(self, points: Any = None, **options: Any) -> xr.DataArray:
        """Return where places, or the voxels, are in MNI305: see `laion_xr.space.template_points`."""
        return template_points(self._obj, points, **options)

    def zscore(self, by: str | Sequence[str] = "session", **options: Any) -> XarrayT:
        """Z-score the betas within sessions or runs: see `laion_xr.analysis.zscore`."""
        return zscore(self._obj, by, **options)

    def average_repeats(self, by: str = "stimulus", **options: Any) -> XarrayT:
        """Average the trials of each stimulus: see `laion_xr.analysis.average_repeats`."""
        return average_repeats(self._obj, by, **options)

    def drop_nonfinite(self, how: str = "any") -> XarrayT:
        """Leave out voxels whose betas are NaN or infinite: see `laion_xr.analysis.drop_nonfinite`."""
        return drop_nonfinite(self._obj, how)

    def noise_ceiling(self, images: str | Iterable[str] = "12rep", **options: Any) -> xr.DataArray:
        """Return the noise ceiling of each voxel from the betas: see `laion_xr.analysis.noise_ceiling`."""
        return noise_ceiling(self._obj, images, **options)

    def reliability(self, images: str | Iterable[str] = "all", **options: Any) -> xr.DataArray:
        """Return the split-half reliability of each voxel: see `laion_xr.analysis.reliability`."""
        return reliability(self._obj, images, **options)

    def split(self, name: str | None = None, **options: Any) -> tuple[XarrayT, XarrayT]:
        """Return the train and the test side of a split by image: see `laion_xr.analysis.split`."""
        return split(self._obj, name, **options)

    def split_masks(self, name: str | None = None, **options: Any) -> tuple[xr.DataArray, xr.DataArray]:
        """Return a split as two boolean masks: see `laion_xr.analysis.split_masks`."""
        return split_masks(self._obj, name, **options)

    def splits(self, by: str, **options: Any) -> Iterator[tuple[XarrayT, XarrayT]]:
        """Return folds, published or by session, run, image or features: see `laion_xr.analysis.splits`."""
        return splits(self._obj, by, **options)

    def list_splits(self, pool: str | int = "shared", **options: Any) -> list[str]:
        """Return the names of a pool's splits: see `laion_xr.analysis.list_splits`."""
        return list_splits(pool, **options)

    def list_pools(self, **options: Any) -> list[str]:
        """Return the names of the pools: see `laion_xr.analysis.list_pools`."""
        return list_pools(**options)

    @property
    def stimuli(self) -> Stimuli:
        """The stimuli of the dataset, to look up by name: see `laion_xr.load_stimuli`."""
        return stimuli_of(self._obj)

    def embeddings(self, model: str | Iterable[str], **options: Any) -> Any:
        """Return the embedding of each trial's image: see `laion_xr.analysis.embeddings`."""
        return embeddings(self._obj, model, **options)

    def images(self, size: Any = None, **options: Any) -> xr.DataArray:
        """Return the image of each trial, lazily: see `laion_xr.analysis.images`."""
        return images(self._obj, size, **options)

    def captions(self, source: str | None = None, **options: Any) -> xr.DataArray:
        """Return the captions of each trial's image: see `laion_xr.analysis.captions`."""
        return captions(self._obj, source, **options)

    def segmentations(self, noun: str | None = None, size: Any = None, **options: Any) -> xr.DataArray:
        """Return where each trial's image shows an object, lazily: see `laion_xr.analysis.segmentations`."""
        return segmentations(self._obj, noun, size, **options)

    @property
    def plot(self) -> Pictures[XarrayT]:
        """Pictures: `slices` (or called), `roi_bars`, `carpet`, `surface`, `split`, `stimuli`: see `laion_xr.plot`."""
        from laion_xr.plot.namespace import Pictures  # noqa: PLC0415 - matplotlib, only where it draws

        return Pictures(self._obj)

    def view(self, values: Any = None, **options: Any) -> Any:
        """Show values on the brain to click through, in Jupyter or a browser: see `laion_xr.plot.view`."""
        from laion_xr.plot import view  # noqa: PLC0415 - matplotlib, only where it draws

        return view(self._obj, values, **options)

    def to_torch(self, **options: Any) -> TrialStream | TrialDataset:
        """Return single trials as a dataset of PyTorch, iterable or map: see `laion_xr.torch.to_torch`."""
        from laion_xr.torch import to_torch  # noqa: PLC0415 - PyTorch, an extra

        return to_torch(self._obj, **options)

    def plot_stimuli(self, n: int = 12, **options: Any) -> Figure:
        """Draw the stimuli of the selection, or those an ROI answers most to: see `laion_xr.plot.plot_stimuli`."""
        from laion_xr.plot import plot_stimuli  # noqa: PLC0415 - matplotlib, only where it draws

        return plot_stimuli(self._obj, n, **options)

    def encode(self, features: Features, **options: Any) -> xr.Dataset:
        """Fit an encoding model in every voxel, by ridge regression: see `laion_xr.analysis.encode`."""
        return encode(self._obj, features, **options)

    def permutation_test(self, predictor: xr.DataArray | str, **options: Any) -> xr.Dataset:
        """Test predictions in every voxel and ROI by shuffling images: see `laion_xr.analysis.permutation_test`."""
        return permutation_test(self._obj, predictor, **options)

    def rdm(self, metric: str = "correlation") -> xr.DataArray:
        """Return the dissimilarity of the response patterns of every two images: see `laion_xr.analysis.rdm`."""
        return rdm(self._obj, metric)

    def info(self) -> DatasetInfo:
        """Return what is there as tables of sessions and ROIs: see `laion_xr.analysis.dataset_info`."""
        return dataset_info(self._obj)

    def plan(self, *, cores: int | None = None) -> ReadSummary:
        """Return what computing this would read, before it is read: see `laion_xr.analysis.read_plan`."""
        return read_plan(self._obj, cores=cores)

    def roi_masks(self, rois: str | Iterable[str] | None = None) -> xr.DataArray:
        """Return which voxels are in which ROI, bool (roi, voxel): see `laion_xr.analysis.roi_masks`."""
        return roi_masks(self._obj, rois)

    def sphere(self, centre: int | Iterable[float], radius: float) -> XarrayT:
        """Return the voxels within `radius` mm of a position or a voxel: see `laion_xr.analysis.sphere`."""
        return sphere(self._obj, centre, radius)

    def searchlight(self, function: Any, radius: float, **options: Any) -> xr.DataArray:
        """Apply a function to the betas around every voxel: see `laion_xr.analysis.searchlight`."""
        return searchlight(self._obj, function, radius, **options)

    def to_assembly(self, **options: Any) -> xr.DataArray:
        """Return the betas as an assembly of Brain-Score: see `laion_xr.exports.to_assembly`."""
        return to_assembly(self._obj, **options)

    def to_numpy_folder(self, folder: str | Path, **options: Any) -> Path:
        """Write `.npy` files and a JSON that says what they are: see `laion_xr.exports.to_numpy`."""
        return to_numpy(self._obj, folder, **options)

    def to_nifti_folder(self, folder: str | Path, by: str = "stimulus", **options: Any) -> Path:
        """Write a NIfTI file a stimulus or trial: see `laion_xr.exports.to_nifti_folder`."""
        return to_nifti_folder(self._obj, folder, by, **options)

    def to_rsatoolbox(self) -> Any:
        """Return the betas as a dataset of rsatoolbox: see `laion_xr.exports.to_rsatoolbox`."""
        return to_rsatoolbox(self._obj)


@xr.register_dataset_accessor("laion")
class LaionDatasetAccessor(_Accessor[xr.Dataset]):
    """`.laion` of a Dataset."""


@xr.register_dataarray_accessor("laion")
class LaionDataArrayAccessor(_Accessor[xr.DataArray]):
    """`.laion` of a DataArray."""


@xr.register_datatree_accessor("laion")
class LaionTreeAccessor:
    """`.laion` of a DataTree of subjects, as `xr.open_datatree` opens them."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def sel(self, **labels: Any) -> xr.DataTree:
        """Select in every subject: see `laion_xr.analysis.select_subjects`."""
        return select_subjects(self._tree, **labels)

    def map(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> xr.DataTree | dict[str, Any]:
        """Apply a function to the Dataset of each subject: see `laion_xr.analysis.map_subjects`."""
        return map_subjects(self._tree, function, *args, **kwargs)

    def shared(self, **options: Any) -> xr.Dataset:
        """Return the stimuli that all subjects saw, repeats averaged, in one: see `laion_xr.analysis.shared`."""
        return shared(self._tree, **options)

    def to_torch(self, **options: Any) -> TrialStream | TrialDataset:
        """Return the trials of all subjects as one dataset of PyTorch: see `laion_xr.torch.to_torch`."""
        from laion_xr.torch import to_torch  # noqa: PLC0415 - PyTorch, an extra

        return to_torch(self._tree, **options)
