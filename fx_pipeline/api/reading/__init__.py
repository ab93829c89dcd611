"""Read access to the served database: the file, the canned queries, and the threads that run them."""
