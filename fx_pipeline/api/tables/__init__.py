"""Datasette's own tables, rows and canned queries: parameters, JSON, and CSV exports."""
