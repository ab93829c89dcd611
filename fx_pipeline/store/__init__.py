"""The database file: its schema, what is written to it, and the ledger of calls."""
