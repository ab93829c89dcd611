"""Detects requests that a page of another site sends through a visitor's browser."""

from starlette.datastructures import Headers
from starlette.types import Scope

from fx_pipeline.serving.hosts import Hosts


def why_foreign(hosts: Hosts, scope: Scope) -> str | None:
    """Return why a request may come from a page of another site. None means that it does not."""
    host, server = Headers(scope=scope).get("host", ""), scope.get("server")
    if not hosts.include(host, server[0] if server else None):
        return (
            f"{host[:200]!r} is not a name of this server. If it should be, the operator can add it to "
            "FX_ALLOWED_HOSTS."
        )
    return _why_foreign_page(hosts, scope)


def why_foreign_form(hosts: Hosts, scope: Scope) -> str | None:
    """Return why a form may come from a page of another site.

    Browsers send `Sec-Fetch-Site` only to https addresses and to localhost. Elsewhere they send `Origin`.
    """
    site = Headers(scope=scope).get("sec-fetch-site")
    if site is None:
        return _why_foreign_page(hosts, scope)
    return None if site in ("same-origin", "none") else "This form is on a page of another site."


def _why_foreign_page(hosts: Hosts, scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None or hosts.is_same_origin(origin, headers.get("host", "")):
        return None
    return (
        f"This request comes from a page of {origin[:200]!r}. If that is the address of this server, the "
        "operator can set FX_API_URL to it."
    )
