"""The HTML pages: one module per page, their shared parts, and their views."""
