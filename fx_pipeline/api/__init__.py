"""The read side: HTTP answers made from canned queries, without Dagster, the store or the client."""
