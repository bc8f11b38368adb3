"""The store: plan, write, verify. Reading from it is `laion_xr.readers.stored` and `laion_xr.stored`."""

from laion_xr.store.info import StoreInfo, store_info
from laion_xr.store.ingest import ingest
from laion_xr.store.plan import IngestPlan, SessionPlan
from laion_xr.store.survey import plan_ingest
from laion_xr.store.verify import verify

__all__ = ["IngestPlan", "SessionPlan", "StoreInfo", "ingest", "plan_ingest", "store_info", "verify"]
