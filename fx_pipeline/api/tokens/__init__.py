"""API tokens: the file that holds them, and the live view of it in each worker."""
