"""A local replacement for Fixer: its protocol and the ECB's history, with plans, quota and faults."""
