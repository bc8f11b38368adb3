"""The entry point of `xr.open_dataset(..., engine="laion_fmri")`: translation only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

import laion_xr.accessor  # noqa: F401 - registers .laion as soon as a dataset is opened
from laion_xr import layout
from laion_xr.access.cache import OFFLINE, with_cache
from laion_xr.access.configuration import data_dir, store_dir
from laion_xr.catalog import Catalog
from laion_xr.dataset import subject_dataset
from laion_xr.errors import SelectionError, unknown_label
from laion_xr.location import Location
from laion_xr.model import model_dataset
from laion_xr.stimuli import stimuli_dataset

STIMULI_GROUP = "stimuli"


class LaionBackendEntrypoint(BackendEntrypoint):
    """The LAION-fMRI dataset in its published layout, a subject a Dataset."""

    description = "LAION-fMRI: labelled, lazy single-trial betas (trial x voxel)"
    url = "https://laion-fmri.hebartlab.com"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether this is a local folder with `derivatives/glmsingle-tedana`; no network, never an error."""
        try:
            text = os.fspath(filename_or_obj)
            if isinstance(text, bytes) or "://" in text or "::" in text:
                return False
            return os.path.isdir(os.path.join(text, *layout.BETAS_DIR.split("/")))
        except Exception:  # xarray asks every engine about any object at all
            return False

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        subject: str | int | None = None,
        sessions: str | int | Iterable[str | int] | None = None,
        group: str | None = None,
        mask_source: str = "anatomical",
        roi: str | Sequence[str] | None = None,
        nc_threshold: float | None = None,
        noise_ceiling: str = "12rep",
        stimuli: str | None = None,
        embeddings: str | Iterable[str] | None = None,
        image_size: Any = None,
        source: str = "auto",
        store: Any = None,
        write_through: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        label_index: bool = True,
        cache_catalog: bool | str = False,
    ) -> xr.Dataset:
        """Open a subject (or the stimuli, or a model file) as a Dataset; reads no betas.

        Parameters
        ----------
        filename_or_obj
            A root (str, PathLike, UPath, fsspec URL), a subject's folder, or a bare `"sub-03"`, which is looked up in
            the configured data folder.
        drop_variables
            Names of variables to leave out; their files are not touched.
        subject
            `"sub-03"`, `"03"` or `3`; it may be left out where there is one.
        sessions
            Sessions to open (`"ses-01"`, `"01"`, `1`, or several); None for all. `trial` does not depend on it.
        group
            `"sub-03"` as `subject`; `"stimuli"`; `"sub-03/ses-01/glmsingle"` for every array of the model file.
        mask_source
            `"anatomical"` (brain mask) or `"rsquare"` (voxels with an R2): which voxels are on the voxel axis.
        roi
            Keep the voxels of an ROI, category, `"all"`, expression, or list of them.
        nc_threshold
            Keep voxels whose noise ceiling, in percent, is at least this.
        noise_ceiling
            Which map becomes the coordinate: `"12rep"`, `"4rep"`, `"Allrep"`, or a session.
        stimuli
            Keep the trials of `"shared"` or of `"unique"` images.
        embeddings
            Models whose embeddings come along as `embedding_{model}` (trial, feature), or `"all"`.
        image_size
            Of `group="stimuli"` and of the node `/stimuli`: pixels, or (height, width), that images are resized to. By
            trial: `ds.laion.images(size)`.
        source
            `"auto"` (the store where it has the session, else NIfTI, else HDF5), `"store"`, `"nifti"` or `"hdf5"`.
        store
            A store made by `laion_xr.ingest`; None for that of `LAION_XR_STORE`, if it is set. Sessions that it lacks,
            or that were made from other files, are read from the source.
        write_through
            True also stores a session when all its trials of all voxels of the mask are read (which keeps about 0.5 GB
            of memory beside the result, for one session at a time). The store is made where there is none.
        storage_options
            Options of the fsspec file system of the root, and of the store where it is remote too (a UPath brings its
            own). `s3://laion-fmri` needs none.
        label_index
            False opens without the label indexes; `.laion.index_labels()` makes them.
        cache_catalog
            Of a remote root: True keeps what opening reads (listings, tables, headers, masks; never betas) in the cache
            folder, and asks again only for what changed; `"offline"` opens from there without any request.

        Returns
        -------
        xr.Dataset
            `betas (trial, voxel)` float32 in percent signal change, its labels, and the maps.

        Raises
        ------
        NotALaionDatasetError, SubjectNotFoundError, UnknownLabelError, DataNotDownloadedError, FileFormatError
            Each names what was expected, what was found, and what to do.

        Examples
        --------
        >>> import xarray as xr
        >>> ds = xr.open_dataset(root, engine="laion_fmri", subject="sub-03")  # doctest: +SKIP
        >>> ds.sel(roi="FFA1", noise_ceiling=slice(30, None)).betas  # doctest: +SKIP
        """
        location, implied = locate(filename_or_obj, storage_options)
        location = with_cache(location, cache_catalog)
        parts = (group or "").strip("/").split("/") if group else []
        if parts == [STIMULI_GROUP]:
            return _stimuli(location, image_size, drop_variables)
        if image_size is not None:
            raise SelectionError(
                "image_size= belongs to group='stimuli' and to open_datatree: the images of trials are "
                f"ds.laion.images({image_size!r})."
            )
        catalog = Catalog.scan(location)
        wanted = _one_subject(subject, parts[0] if parts else None, implied)
        found = catalog.subject(wanted)
        if len(parts) > 1:
            if len(parts) != 3 or parts[2] != "glmsingle":
                raise unknown_label(
                    "Group", group, [*catalog.subjects, STIMULI_GROUP, f"{found.subject}/ses-01/glmsingle"]
                )
            return _closable(_dropped(model_dataset(found, parts[1]), drop_variables))
        kept_in = _store(store, storage_options, cache_catalog == OFFLINE)
        return _closable(
            subject_dataset(
                found,
                sessions=sessions,
                mask_source=mask_source,
                roi=roi,
                nc_threshold=nc_threshold,
                noise_ceiling=noise_ceiling,
                stimuli=stimuli,
                embeddings=embeddings,
                source=source,
                store=kept_in,
                write_through=_write_through(kept_in, source) if write_through else None,
                label_index=label_index,
                drop_variables=_names(drop_variables),
            )
        )

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        subject: str | int | Iterable[str | int] | None = None,
        group: str | None = None,
        image_size: Any = None,
        storage_options: Mapping[str, Any] | None = None,
        cache_catalog: bool | str = False,
        **kwargs: Any,
    ) -> dict[str, xr.Dataset]:
        """Open every subject, and the stimuli: `{"/": ..., "/sub-01": ..., "/stimuli": ...}`.

        `subject` narrows the subjects (one or several); other arguments go to `open_dataset` of each.
        """
        location, implied = locate(filename_or_obj, storage_options)
        location = with_cache(location, cache_catalog)
        kwargs |= {"storage_options": storage_options, "cache_catalog": cache_catalog}  # for the store
        catalog = Catalog.scan(location)
        if group:
            kwargs |= {"image_size": image_size, "group": group}
            return {"/": self.open_dataset(location, drop_variables=drop_variables, **kwargs)}
        chosen = implied if subject is None else subject
        names = catalog.subjects if chosen is None else [chosen] if isinstance(chosen, (str, int)) else list(chosen)
        groups = {"/": xr.Dataset()}
        for name in names:
            ds = self.open_dataset(location, drop_variables=drop_variables, subject=name, **kwargs)
            groups[f"/{ds.attrs['subject']}"] = ds
        if layout.stimulus_path("metadata") in catalog.stimuli():
            groups[f"/{STIMULI_GROUP}"] = _stimuli(location, image_size, drop_variables)
        return groups

    def open_datatree(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **kwargs: Any
    ) -> xr.DataTree:
        """Open every subject, and the stimuli, as a DataTree: `/sub-01` ... `/stimuli`."""
        groups = self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables, **kwargs)
        return xr.DataTree.from_dict(groups)


def locate(obj: Any, storage_options: Mapping[str, Any] | None = None) -> tuple[Location, str | None]:
    """Return the root that an object names, and the subject where it names one.

    A root, a subject's folder, or a bare `"sub-03"`: xarray turns that into an absolute path, so that what counts is
    the last part of a path which does not exist.
    """
    if isinstance(obj, Location):
        return obj, None
    location = Location.of(obj, storage_options)
    name = PurePath(location.url).name if location.is_local else location.url.rpartition("/")[2]
    if not layout.is_subject(name):
        return location, None
    parent = location.url.rpartition("/")[0]
    if parent.endswith(layout.BETAS_DIR):
        return Location(parent.removesuffix(layout.BETAS_DIR).rstrip("/"), location.storage_options), name
    if location.is_local and not os.path.exists(location.url):
        return Location.of(data_dir(), storage_options), name
    return location, None


def _one_subject(subject: str | int | None, group: str | None, implied: str | None) -> str | int | None:
    given = [s for s in (subject, group or None, implied) if s is not None]
    if len({layout.subject_name(s) for s in given}) > 1:
        raise SelectionError(f"One subject is opened at a time, found {' and '.join(map(str, given))}.")
    return given[0] if given else None


def _store(store: Any, storage_options: Mapping[str, Any] | None, offline: bool) -> Location | None:
    configured = store if store is not None else store_dir()
    if configured is None:
        return None
    found = Location.of(configured)
    if found.is_local:
        return found
    if offline:
        if store is None:
            return None
        raise SelectionError(
            f"cache_catalog='offline' makes no request, and the store {found.url} is remote: give a store on this "
            "machine, or open with cache_catalog=True."
        )
    # a UPath brings options of its own, which may be other credentials than those of the root
    return found if found.storage_options else Location.of(configured, storage_options)


def _write_through(store: Location | None, source: str) -> Any:
    if store is None:
        raise SelectionError(
            "write_through=True keeps what is read in a store: pass store=..., or set the environment variable "
            "LAION_XR_STORE."
        )
    if source != "auto":
        raise SelectionError(
            f"write_through=True reads what the store has from there, and found source={source!r}: leave it 'auto'."
        )
    from laion_xr.store.write_through import writing_through  # noqa: PLC0415 - what writes, only where it is asked for

    return writing_through


def _stimuli(location: Location, image_size: Any, drop_variables: str | Iterable[str] | None) -> xr.Dataset:
    drop = _names(drop_variables)
    return _closable(_dropped(stimuli_dataset(location, image_size=image_size, drop_variables=drop), drop))


def _names(drop_variables: str | Iterable[str] | None) -> list[str]:
    if drop_variables is None:
        return []
    return [drop_variables] if isinstance(drop_variables, str) else list(drop_variables)


def _dropped(ds: xr.Dataset, drop_variables: str | Iterable[str] | None) -> xr.Dataset:
    return ds.drop_vars(_names(drop_variables), errors="ignore")


def _closable(ds: xr.Dataset) -> xr.Dataset:
    # every read opens and closes its own file: there is nothing to close, and .close() must still work
    ds.set_close(_nothing_to_close)
    return ds


def _nothing_to_close() -> None:
    # a function of the module: a Dataset pickles its closer
    return None
