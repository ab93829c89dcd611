"""The read side: HTTP responses from canned queries, without Dagster, the store or the Fixer client."""
