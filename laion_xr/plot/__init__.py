"""Pictures: matplotlib figures of what was shown."""

from laion_xr.plot.stimuli import plot_stimuli

__all__ = ["plot_stimuli"]
