"""A self-hosted Fixer: fetch daily exchange rates once, store them with their revisions, and serve them."""
