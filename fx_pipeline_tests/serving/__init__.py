"""Tests of the limits and host names of the servers."""
