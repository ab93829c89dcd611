"""The paths about the server itself, and which of them are public."""

from fx_pipeline.api.contract.operations import OPERATIONS

LOGIN, LOGOUT, MCP, METRICS = "/-/login", "/-/logout", "/-/mcp", "/-/metrics"
FORMS = (LOGIN, LOGOUT)
"""Where a browser posts a form."""
HEALTH = tuple(operation.path for operation in OPERATIONS if operation.is_health_check)
"""The health checks: supervisors have no token."""


def is_closed(path: str) -> bool:
    """Return whether a page is closed to everyone: Datasette's own pages about the server."""
    return path.startswith("/-/") and path not in (*HEALTH, LOGIN, MCP, METRICS)


def needs_no_token(path: str) -> bool:
    """Return whether a page is public even while tokens are required. Static files reveal nothing."""
    return path in (*HEALTH, LOGIN, "/favicon.ico") or path.startswith("/static/")
