"""The Dagster UI, served behind a guard against pages of other sites."""
