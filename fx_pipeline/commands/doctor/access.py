"""Checks of who can use the API: tokens, and public addresses."""

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from fx_pipeline.commands.access import Access
from fx_pipeline.commands.doctor.facts import Facts, NoDatabase
from fx_pipeline.commands.doctor.findings import Finding, fault, of_message, ok, warning
from fx_pipeline.quality.integrity import token_findings
from fx_pipeline.rates import counted

_CREATE = "Create one with `fx-pipeline token create NAME`"


def tokens(facts: Facts) -> Iterator[Finding]:
    """Check that tokens can be read, and that a client can have one if they are required."""
    settings = facts.settings
    with suppress(NoDatabase):
        facts.require_database()
    if found := token_findings(settings.tokens_database, settings.fx_database):
        for line in found:
            yield of_message("tokens", line)
        return
    if not settings.fx_database.exists() and not settings.tokens_database.exists():
        if settings.fx_require_token:
            yield warning("tokens", "FX_REQUIRE_TOKEN is 1, but there is no token yet", f"{_CREATE}.")
        else:
            yield ok("tokens", "none are required")
        return
    state = Access(settings).state()
    if state.problem:
        yield of_message("tokens", state.problem)
    elif state.mode == "open":
        yield ok("tokens", "none are required")
    elif not state.valid:
        why = "FX_REQUIRE_TOKEN is 1" if settings.fx_require_token else "tokens are on"
        yield fault(
            "tokens",
            f"{why}, but no token is valid, so every request is refused",
            f"{_CREATE}, or open the API with `fx-pipeline token off` and without FX_REQUIRE_TOKEN.",
        )
    else:
        yield ok("tokens", f"required; {counted(state.valid, 'token')} valid")


def public_address(facts: Facts) -> Iterator[Finding]:
    """Check that what has a public address asks for a token or a password."""
    settings = facts.settings
    public = [
        (name, url)
        for name, url in (("FX_API_URL", settings.fx_api_url), ("FX_DAGSTER_URL", settings.fx_dagster_url))
        if url and not _is_local(url)
    ]
    is_open = True
    for name, url in public:
        if name == "FX_API_URL" and _needs_no_token(facts):
            yield warning(
                "public address",
                f"FX_API_URL is {url}, and no token is required: anyone who can reach it can read all rates",
                f"If that is not intended: {_CREATE[0].lower()}{_CREATE[1:]}.",
            )
        elif name == "FX_DAGSTER_URL" and not (settings.fx_dagster_password or settings.fx_dagster_read_only):
            yield warning(
                "public address",
                f"FX_DAGSTER_URL is {url}, and FX_DAGSTER_PASSWORD is not set: anyone who can reach it can "
                "start and delete runs",
                "Set FX_DAGSTER_PASSWORD, unless the proxy asks for one.",
            )
        else:
            continue
        is_open = False
    if is_open:
        shown = ", ".join(url for _, url in public) or "none (FX_API_URL and FX_DAGSTER_URL)"
        yield ok("public address", shown)


def _needs_no_token(facts: Facts) -> bool:
    settings = facts.settings
    try:
        facts.require_database()
    except NoDatabase:
        return not settings.fx_require_token
    return Access(settings).state().mode == "open"


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
