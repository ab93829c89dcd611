"""API tokens: the file that holds them, the mark that they are on, and the view of them in each worker."""
