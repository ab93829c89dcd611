"""Read access to the served database: the file, the canned queries, and where their work runs."""
