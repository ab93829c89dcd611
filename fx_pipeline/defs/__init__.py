"""Everything Dagster runs, one module per Dagster concept."""
