"""The HTML pages: home, one day, one currency, coverage, docs, and what is public."""
