"""The page ``/public/``: what is public, and why.

The gate (tokens), the edge (closed paths) and ``metadata.yaml`` (tables and queries) control access. This
page explains it. The tests compare every row with the server's responses.
"""

from dataclasses import dataclass
from enum import Enum

from fx_pipeline.api.pages.page import Page, PageRequest


class Access(Enum):
    """Groups of clients that may read something, in the words of the page."""

    PUBLIC = "Everyone, always"
    READERS = "Everyone; if tokens are on, only token holders"
    HOLDERS = "Token holders"
    CLOSED = "No one over HTTP"


@dataclass(frozen=True, slots=True)
class Exposure:
    """A row of the page: some paths, who may read them, and why."""

    what: str
    paths: tuple[str, ...]
    access: Access
    why: str


EXPOSURES = (
    Exposure(
        "The API",
        ("/rates/", "/rates/latest", "/rates/openapi.json", "/rates/docs/"),
        Access.READERS,
        "It is the purpose of this service. Rates are facts that the provider publishes.",
    ),
    Exposure(
        "Pages",
        ("/", "/coverage/", "/public/"),
        Access.READERS,
        "They show data from the API. Coverage also lists the latest fetches, but only for token holders.",
    ),
    Exposure(
        "Tables and canned queries of rates",
        (
            "/fx",
            "/fx/rates",
            "/fx/days",
            "/fx/revisions",
            "/fx/symbols",
            "/fx/rejected_rates",
            "/fx/rates_by_date",
        ),
        Access.READERS,
        "The same rates, for browsing and export. Revised and rejected values are included: they show "
        "how far a value can be trusted.",
    ),
    Exposure(
        "Tools for AI assistants",
        ("/-/mcp",),
        Access.READERS,
        "The API in the Model Context Protocol. Requests use POST.",
    ),
    Exposure(
        "Health",
        ("/-/health", "/-/health/ready", "/-/health/freshness"),
        Access.PUBLIC,
        "Supervisors and load balancers have no token. It reports whether the service works, why it refuses "
        "other requests, a version of SQLite that can corrupt data, whether a replica is up to date, how "
        "much is stored, and the first and the latest day. It returns no rates.",
    ),
    Exposure(
        "The sign-in form, and static files",
        ("/-/login", "/static/pages.css", "/favicon.ico"),
        Access.PUBLIC,
        "Visitors need them to sign in. They reveal nothing.",
    ),
    Exposure(
        "Fetches, calls of the month",
        ("/fx/fetches", "/fx/last_fetches", "/fx/calls_of_month"),
        Access.HOLDERS,
        "Requests to the provider, their cost and their failures concern only the operators of this service. "
        "While there are no tokens, they are closed to everyone.",
    ),
    Exposure(
        "SQL written by visitors",
        ("/fx?sql=select+1", "/fx/rates.json?_where=1=1"),
        Access.CLOSED,
        "One statement can keep the server busy until its time limit, and can read any table.",
    ),
    Exposure(
        "The database file",
        ("/fx.db",),
        Access.CLOSED,
        "It contains the fetches. Operators can copy it on the server.",
    ),
    Exposure(
        "Datasette's pages about the server",
        ("/-/config", "/-/plugins", "/-/settings", "/-/versions", "/-/metadata", "/_internal"),
        Access.CLOSED,
        "Versions and settings help attackers, and readers of rates do not need them.",
    ),
    Exposure(
        "Schema migrations, and the mark that tokens are on",
        ("/fx/_sqlite_migrations", "/fx/token_mark"),
        Access.CLOSED,
        "Only fx-pipeline itself uses them.",
    ),
)


def page(request: PageRequest, *, is_open: bool) -> Page:
    """Return the page. `is_open` says whether this instance requires no token now."""
    return Page("public.html", {"exposures": EXPOSURES, "is_open": is_open})
