"""Alerts: each fault once when it begins and once when it is over, and a digest each morning."""
