"""Metrics for Prometheus: the counts of requests, the state of the stored data, and how both are exposed."""
