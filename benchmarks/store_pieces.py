"""The pieces of code that `store.py` compares, each run in a process of its own.

Every piece reads its files once before the clock starts, so that all of them find a warm page cache. Each leaves
`result`, trials x voxels; what it notes is the CRC-32 of it: pieces that should agree are compared by that.
"""

from __future__ import annotations

WARM = """
import glob, os
def warm(*places):
    buffer = memoryview(bytearray(8 << 20))
    for place in places:
        for path in [place] if os.path.isfile(place) else glob.glob(place + "/**", recursive=True):
            if os.path.isfile(path):
                with open(path, "rb", buffering=0) as file:
                    while file.readinto(buffer):
                        pass
"""

# reading again in the same process: what an analysis pays from the second read on
NOTE = """
import zlib
def timed(read, n=5):
    found = []
    for _ in range(n):
        t = time.perf_counter()
        read()
        found.append(time.perf_counter() - t)
    return found
note = {"crc": zlib.crc32(np.ascontiguousarray(result)), "shape": list(result.shape)}
"""
AGAIN = (
    NOTE
    + """
note["again"] = timed(read)
"""
)

OPEN = (
    WARM
    + """
import dask, numpy as np, xarray as xr, zarr
dask.delayed(int)(0).compute()  # imports distributed, where it is installed: imports are not what is compared
warm({store!r})
ds = xr.open_dataset({root!r}, engine="laion_fmri", store={store!r}, source="store")
betas = ds.betas
"""
)
READ_STORE = """
read = lambda: betas{pick}.values
result = read()
"""

# the idiom of the field: load everything, then index with a mask
PLAIN = (
    WARM
    + """
import gzip, nibabel as nib, numpy as np
warm({betas!r})
mask = np.asanyarray(nib.load({mask!r}).dataobj) != 0
roi = mask & (np.asanyarray(nib.load({roi!r}).dataobj) != 0)
"""
)
IDIOM = """
data = np.asanyarray(nib.load({betas!r}).dataobj)
loaded = time.perf_counter() - started
result = data[roi].T
"""
IDIOM_NOTE = (
    NOTE
    + """
t = time.perf_counter()
whole = data[mask].T
note |= {"whole": loaded + time.perf_counter() - t, "whole_shape": list(whole.shape)}
"""
)
STREAM = """
where = np.ravel_multi_index(np.nonzero(roi), roi.shape, order="F")
rows = []
with gzip.open({betas!r}) as file:
    file.read(int(nib.load({betas!r}).dataobj.offset))
    while len(volume := file.read(roi.size * 4)) == roi.size * 4:
        rows.append(np.frombuffer(volume, "<f4")[where])
result = np.stack(rows)
"""
INFLATE = (
    WARM
    + """
from zlib_ng import gzip_ng
from concurrent.futures import ThreadPoolExecutor
paths = {betas!r}
warm(*paths)
def inflate(path):
    with gzip_ng.open(path) as file:
        while file.read(1 << 20):
            pass
"""
)
INFLATE_BODY = """
with ThreadPoolExecutor(len(paths)) as pool:
    list(pool.map(inflate, paths))
"""
INGEST = (
    WARM
    + """
import shutil, laion_xr, laion_xr.store
shutil.rmtree({store!r}, ignore_errors=True)
warm(*{betas!r})
plan = laion_xr.plan_ingest({root!r}, {store!r}, workers={workers})
"""
)
INGEST_BODY = """
laion_xr.ingest({root!r}, {store!r}, plan=plan, progress=False)
note = {{"workers": plan.workers, "worker_bytes": plan.worker_bytes}}
"""

# the same masked matrix, kept by a lab itself; columns of the ROI in C-order, as the Dataset has them
MATRIX = (
    WARM
    + """
import h5py, numpy as np
warm({path!r})
columns = np.load({columns!r})
"""
)
MEMMAP = """
matrix = np.load({path!r}, mmap_mode="r")
read = lambda: {expression}
result = read()
"""
H5PY = """
file = h5py.File({path!r}, "r")
matrix = file["betas"]
def read():
    # what h5py is good at: a rectangle a column of chunks; picks by number take it minutes
    width = matrix.chunks[1] if matrix.chunks else matrix.shape[1]
    pieces = []
    for chunk in np.unique(columns // width):
        inside = columns[columns // width == chunk]
        low, high = inside[0], inside[-1] + 1
        pieces.append(matrix[:, low:high][:, inside - low])
    return np.concatenate(pieces, axis=1)
result = read()
"""

SESSIONS = (
    WARM
    + """
import dask, numpy as np, pandas as pd, xarray as xr, zarr
warm({store!r})
dask.config.set(scheduler="threads", num_workers={workers})
dask.delayed(int)(0).compute()
ds = xr.open_dataset({root!r}, engine="laion_fmri", store={store!r}, source="store")
betas = ds.betas

def nothing(block):
    return np.zeros((1, 1), "f4")
"""
)
BARE = """
betas.data.map_blocks(nothing, dtype="f4", chunks=(1, 1)).compute()
"""
BARE_BLOCKS = """
betas.chunk({{"trial": -1, "voxel": {block}}}).data.map_blocks(nothing, dtype="f4", chunks=(1, 1)).compute()
"""
ANALYSIS = """
result = ds.laion.zscore().laion.average_repeats().betas.compute()
"""
ANALYSIS_NOTE = """
part = betas.isel(voxel=slice(0, 40)).drop_indexes([n for n in betas.xindexes if n not in ("trial", "voxel")])
part = part.reset_coords(drop=True).assign_coords(session=ds.session.variable, stimulus=ds.stimulus.variable).load()
by = part.groupby("session")
z = (by - by.mean()).groupby("session") / by.std()
expected = z.groupby("stimulus").mean().transpose("stimulus", "voxel")
error = float(np.nanmax(np.abs(result.values[:, :40] - expected.values)))
note = {"shape": list(betas.shape), "images": result.sizes["stimulus"], "error": error}
"""
