"""The partitions: one per UTC day, from `FX_START_DATE` to yesterday.

The provider completes a day when it is over (00:00 UTC), so today is not a partition yet.
"""

import dagster as dg

from fx_pipeline.settings import load_settings

days = dg.DailyPartitionsDefinition(start_date=load_settings().fx_start_date.isoformat(), timezone="UTC")
