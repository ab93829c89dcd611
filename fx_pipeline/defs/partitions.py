"""The days that can be fetched. One partition is one UTC day, from `FX_START_DATE` to yesterday.

A day is complete at the provider only when it is over (00:00 UTC), so today is no partition yet.
"""

import dagster as dg

from fx_pipeline.settings import load_settings

days = dg.DailyPartitionsDefinition(start_date=load_settings().fx_start_date.isoformat(), timezone="UTC")
