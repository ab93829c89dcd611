"""The Dagster UI, served behind a guard against other sites' pages."""
