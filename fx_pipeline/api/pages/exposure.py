"""What is public and why: the page ``/public/``, and the table that it shows.

Access itself is decided in `access` (tokens), `edge` (what is closed) and ``metadata.yaml`` (tables and
queries). This says it to people; the tests hold every row against what the server answers.
"""

from dataclasses import dataclass
from enum import Enum

from fx_pipeline.api.pages.visit import Page, Visit


class Who(Enum):
    """Who may read something: the words of the page."""

    EVERYBODY = "Everybody, always"
    READERS = "Everybody; while tokens are asked for, their holders"
    HOLDERS = "Holders of a token"
    NOBODY = "Nobody, over HTTP"


@dataclass(frozen=True, slots=True)
class Exposure:
    """Something that is asked for at these paths, who may read it, and why."""

    what: str
    paths: tuple[str, ...]
    who: Who
    why: str


EXPOSURES = (
    Exposure(
        "The API",
        ("/rates/", "/rates/latest", "/rates/openapi.json", "/rates/docs/"),
        Who.READERS,
        "It is what this service is for. Rates are facts that the provider publishes.",
    ),
    Exposure(
        "Pages",
        ("/", "/coverage/", "/public/"),
        Who.READERS,
        "They show what the API answers. Coverage adds the last fetches for holders of a token alone.",
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
        Who.READERS,
        "The same rates, for those who browse and export. What was revised or rejected is part of them: "
        "without it nobody could tell how far to trust a value.",
    ),
    Exposure(
        "Tools for assistants",
        ("/-/mcp",),
        Who.READERS,
        "The API once more, in the Model Context Protocol. Asked with POST.",
    ),
    Exposure(
        "Health",
        ("/-/health", "/-/health/freshness"),
        Who.EVERYBODY,
        "Supervisors and load balancers hold no token. It tells whether the service answers and how old the "
        "newest day is.",
    ),
    Exposure(
        "The form that takes a token, and what pages look like",
        ("/-/login", "/static/pages.css", "/favicon.ico"),
        Who.EVERYBODY,
        "Without it nobody could come in. It tells nothing.",
    ),
    Exposure(
        "Fetches, calls of the month",
        ("/fx/fetches", "/fx/last_fetches", "/fx/calls_of_month"),
        Who.HOLDERS,
        "When what was asked of the provider, what it cost and what failed is the business of those who run "
        "this. With no token made, nobody sees it.",
    ),
    Exposure(
        "SQL of the visitor's own",
        ("/fx?sql=select+1", "/fx/rates.json?_where=1=1"),
        Who.NOBODY,
        "One statement can hold a server for as long as it may run, and reads any table.",
    ),
    Exposure(
        "The database as a file",
        ("/fx.db",),
        Who.NOBODY,
        "It holds the fetches. Who runs the service copies it on its machine.",
    ),
    Exposure(
        "The server's view of itself",
        ("/-/config", "/-/plugins", "/-/settings", "/-/versions", "/-/metadata", "/_internal"),
        Who.NOBODY,
        "Versions and settings help an attacker, and no reader of rates.",
    ),
    Exposure(
        "How the tables were made, and whether tokens are on",
        ("/fx/_sqlite_migrations", "/fx/token_mark"),
        Who.NOBODY,
        "Of use to fx-pipeline alone.",
    ),
)


def page(visit: Visit, *, is_open: bool) -> Page:
    """The page ``/public/``; `is_open` says whether this instance asks for no token now."""
    return Page("public.html", {"exposures": EXPOSURES, "is_open": is_open})
