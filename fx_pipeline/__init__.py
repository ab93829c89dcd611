"""A self-hosted Fixer: daily exchange rates fetched once, kept with their revisions, and served for ever."""
