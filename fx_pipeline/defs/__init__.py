"""Everything that Dagster runs, one module per Dagster concept."""
