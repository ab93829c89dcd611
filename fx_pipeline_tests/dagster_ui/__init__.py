"""Tests of the Dagster UI behind its guard: over sockets, and from a real browser."""
