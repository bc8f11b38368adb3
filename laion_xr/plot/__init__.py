"""Pictures: matplotlib figures of what was shown and of what was found."""

from laion_xr.plot.bars import roi_bars
from laion_xr.plot.carpet import carpet
from laion_xr.plot.interactive import view
from laion_xr.plot.slices import slices
from laion_xr.plot.split import split
from laion_xr.plot.stimuli import plot_stimuli
from laion_xr.plot.surface import surface

__all__ = ["carpet", "plot_stimuli", "roi_bars", "slices", "split", "surface", "view"]
