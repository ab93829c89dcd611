"""Bounds and hosts of the servers."""
