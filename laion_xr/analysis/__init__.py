"""Free functions, xarray in, xarray out; `.laion` has them as methods."""

from laion_xr.analysis.ceiling import noise_ceiling, reliability
from laion_xr.analysis.encoding import encode, predict
from laion_xr.analysis.information import DatasetInfo, dataset_info
from laion_xr.analysis.permutation import permutation_test
from laion_xr.analysis.planning import ReadSummary, read_plan
from laion_xr.analysis.regions import roi_masks, sphere
from laion_xr.analysis.repeats import average_repeats
from laion_xr.analysis.rsa import rdm, rsa
from laion_xr.analysis.select import select
from laion_xr.analysis.spheres import searchlight
from laion_xr.analysis.splits import split, split_masks
from laion_xr.analysis.splits_folds import splits
from laion_xr.analysis.splits_published import list_pools, list_splits, split_images
from laion_xr.analysis.standardize import drop_nonfinite, zscore
from laion_xr.analysis.stimuli import captions, embeddings, images, segmentations, stimuli_of
from laion_xr.analysis.subjects import map_subjects, select_subjects, shared
from laion_xr.analysis.volumes import geometry, to_nifti

__all__ = [
    "DatasetInfo",
    "ReadSummary",
    "average_repeats",
    "captions",
    "dataset_info",
    "drop_nonfinite",
    "embeddings",
    "encode",
    "geometry",
    "images",
    "list_pools",
    "list_splits",
    "map_subjects",
    "noise_ceiling",
    "permutation_test",
    "predict",
    "rdm",
    "read_plan",
    "reliability",
    "roi_masks",
    "rsa",
    "searchlight",
    "segmentations",
    "select",
    "select_subjects",
    "shared",
    "sphere",
    "split",
    "split_images",
    "split_masks",
    "splits",
    "stimuli_of",
    "to_nifti",
    "zscore",
]
