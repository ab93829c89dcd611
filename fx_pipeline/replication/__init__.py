"""Replication of both database files to an object store by Litestream, and what is restored from it."""
