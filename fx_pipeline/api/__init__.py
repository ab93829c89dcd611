"""The read side: HTTP answers made from canned queries. Nothing here imports Dagster, the store or the provider."""
