"""The API, over HTTP, on real database files."""
