"""The database file: schema, writing, reading for checks, and the ledger of calls."""
