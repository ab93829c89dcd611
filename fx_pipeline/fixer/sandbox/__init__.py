"""A stand-in for Fixer: its protocol over the ECB's history, with plans, quota and faults."""
