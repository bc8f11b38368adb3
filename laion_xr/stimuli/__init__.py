"""The stimuli: what is known of each image, by its name; as a Dataset on `stimulus`, and as objects to look up."""

from laion_xr.stimuli.captions import Captions
from laion_xr.stimuli.dataset import stimuli_dataset
from laion_xr.stimuli.embeddings import Embeddings
from laion_xr.stimuli.images import Images
from laion_xr.stimuli.load import Stimuli, load_stimuli, remembered_stimuli
from laion_xr.stimuli.root import ROOT, root_attrs
from laion_xr.stimuli.segmentations import Segmentations
from laion_xr.stimuli.table import read_metadata
from laion_xr.stimuli.variables import embedding_models, embedding_variable, requested_models

__all__ = [
    "ROOT",
    "Captions",
    "Embeddings",
    "Images",
    "Segmentations",
    "Stimuli",
    "embedding_models",
    "embedding_variable",
    "load_stimuli",
    "read_metadata",
    "remembered_stimuli",
    "requested_models",
    "root_attrs",
    "stimuli_dataset",
]
