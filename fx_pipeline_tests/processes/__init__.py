"""Tests of `up` and its supervisor, as real processes."""
