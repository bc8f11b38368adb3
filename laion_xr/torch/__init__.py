"""PyTorch datasets of single trials: betas with the image, embedding and caption that they answer to.

Needs the extra `torch`: `pip install 'laion-xr[torch]'`.
"""

from laion_xr.errors import missing_extra

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise missing_extra("torch", "torch", "laion_xr.torch") from error

from laion_xr.torch.convert import to_torch
from laion_xr.torch.iterable import TrialStream
from laion_xr.torch.loader import Loader
from laion_xr.torch.map_dataset import TrialDataset
from laion_xr.torch.shuffle import neighbour_distance

__all__ = ["Loader", "TrialDataset", "TrialStream", "neighbour_distance", "to_torch"]
