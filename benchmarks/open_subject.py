"""Opening and importing: a subject of 30 sessions on the full grid, and laion_xr beside xarray.

    python benchmarks/open_subject.py [--rounds 5]

The files are tiny (two trials a session), their number and the grid are real: 143^3, 30 sessions, 40 ROIs, 25,052
stimuli. Nothing of the betas is read when a subject is opened, so that their length does not matter.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from measure import in_turn, run, verdict

import laion_xr

OPEN_BODY = """
ds = xr.open_dataset({root!r}, engine="laion_fmri")
"""
SELECT_BODY = """
part = ds.sel(roi="FFA1", noise_ceiling=slice(30, None))
"""
HTML_BODY = """
ds._repr_html_()
"""


def median(prepare: str, body: str, rounds: int) -> float:
    """Return the median time of a piece, each run in a process of its own."""
    return statistics.median(run(prepare, body).seconds for _ in range(rounds))


def main() -> int:
    """Measure and print; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        laion_xr.simulate(
            root,
            subjects=["sub-03"],
            sessions=30,
            trials=2,
            grid=(143, 143, 143),
            stimuli=["metadata"],
            models=False,
            surfaces=False,
        )
        prepare = "import xarray as xr, laion_xr"
        opened = f"{prepare}\nds = xr.open_dataset({str(root)!r}, engine='laion_fmri')"
        ok = verdict("opening 30 sessions, s", median(prepare, OPEN_BODY.format(root=str(root)), rounds), 1.0, False)
        print(f"     a selection by ROI and ceiling {median(opened, SELECT_BODY, rounds) * 1e3:.1f} ms")
        print(f"     the html repr {median(opened, HTML_BODY, rounds) * 1e3:.1f} ms")
    found = in_turn(
        {"import xarray": ("", "import xarray"), "and laion_xr": ("import xarray", "import laion_xr")}, rounds
    )
    extra = statistics.median(r.seconds for r in found["and laion_xr"])
    ok &= verdict("importing laion_xr over import xarray, s", extra, 0.7, False)
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
