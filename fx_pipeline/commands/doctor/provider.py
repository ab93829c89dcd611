"""Checks of the provider: whether it can be reached, the key, and the clock.

Without `--call`, nothing is sent to it: a connection is made, with TLS, and closed. With `--call`, one call
for the list of currencies is made, counted and stored like any other.
"""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.database import is_current, open_ledger
from fx_pipeline.commands.doctor.connecting import CONNECT_SECONDS
from fx_pipeline.commands.doctor.facts import Call, Facts, NoDatabase
from fx_pipeline.commands.doctor.findings import Finding, fault, not_checked, of_message, ok, warning
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline.following import is_reader
from fx_pipeline.ingestion.symbols import ingest_names
from fx_pipeline.rates import counted
from fx_pipeline.settings import Settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.ledger import QuotaReached
from fx_pipeline.store.store import RateStore

CLOCK_TOLERANCE = 60.0
"""Seconds by which clocks may differ: a Date header has no fractions, and a response takes a while."""

_NETWORK = "Check the network, the name server, the proxy and FIXER_BASE_URL."


def connection(facts: Facts) -> Iterator[Finding]:
    """Connect to the provider, or to the proxy in between. Send no request."""
    settings = facts.settings
    if settings.demo:
        yield ok("provider", "the sandbox, because neither FIXER_ACCESS_KEY nor FIXER_BASE_URL is set")
        return
    if is_reader(settings.fx_database):
        yield ok("provider", "this is a reader, which makes no calls")
        return
    url = settings.fixer_base_url
    with requests.Session() as session:
        environment = session.merge_environment_settings(url, {}, None, None, None)
    proxy = requests.utils.select_proxy(url, environment["proxies"])
    name = "the proxy" if proxy else str(urlsplit(url).hostname)
    try:
        _connect(proxy or url, None if proxy else environment["verify"])
    except socket.gaierror:
        yield fault("provider", f"the name of {name} cannot be resolved", _NETWORK)
    except ssl.SSLCertVerificationError as error:
        yield fault(
            "provider",
            f"the certificate of {name} is not trusted ({error.verify_message})",
            "Check FIXER_BASE_URL and the clock. Behind a proxy, set REQUESTS_CA_BUNDLE to its certificates.",
        )
    except OSError as error:
        reason = error.strerror or ("no answer" if isinstance(error, TimeoutError) else type(error).__name__)
        yield fault("provider", f"{name} cannot be reached: {reason.lower()}", _NETWORK)
    else:
        further = " `--call` tests whether it reaches the provider" if proxy else ""
        yield ok("provider", f"{name} accepts connections{';' if proxy else ''}{further}")


def _connect(url: str, verify: str | bool | None) -> None:
    """Connect to the host of a URL, with TLS if `verify` names the trusted certificates. Raise OSError."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    is_secure = parts.scheme == "https"
    address = parts.hostname or "", parts.port or (443 if is_secure else 80)
    with closing(socket.create_connection(address, timeout=CONNECT_SECONDS)) as plain:
        if is_secure and verify is not None:
            trusted = _trusted(requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify))
            with trusted.wrap_socket(plain, server_hostname=address[0]):
                pass


def _trusted(certificates: str) -> ssl.SSLContext:
    if Path(certificates).is_dir():
        return ssl.create_default_context(capath=certificates)
    return ssl.create_default_context(cafile=certificates)


def key(facts: Facts) -> Iterator[Finding]:
    """Check that there is a key and, with `--call`, that the provider accepts it."""
    settings = facts.settings
    called: Future[Call | None] = facts.call
    try:
        if is_reader(settings.fx_database):
            yield ok("key", "this is a reader, which needs none")
        elif settings.fixer_access_key is None and not settings.demo:
            yield fault(
                "key", "FIXER_ACCESS_KEY is not set", "Set it to the key of your Fixer account in .env."
            )
        elif settings.demo:
            yield ok("key", "none is needed: the sandbox replaces Fixer")
        elif not facts.with_call:
            yield ok("key", "FIXER_ACCESS_KEY is set. `--call` tests it with one call")
        else:
            result = _called(facts)
            called.set_result(result)
            yield result.failure or ok("key", "the provider accepts it (one call)")
    finally:
        if not called.done():
            called.set_result(None)


def _called(facts: Facts) -> Call:
    """Make one call, counted by the ledger and stored if there is a database."""
    settings = facts.settings
    client = _Client(
        settings.provider_url,
        settings.provider_key,
        auth=settings.fixer_auth,
        base=settings.fx_base,
        timeout=(CONNECT_SECONDS, CONNECT_SECONDS),
        retries=0,
    )
    with client:
        try:
            facts.require_database()
            _call_and_store(settings, client)
        except NoDatabase:
            return _uncounted(client)
        except FixerError as error:
            return _failed(error)
        except QuotaReached as error:
            text = f"no call was made: {str(error).rstrip('.')}"
            return Call(warning("key", text, "Wait for the next month, or test the key without a quota."))
        except StoreError:
            text = "no call was made: the database cannot be used, so it could not be counted"
            return Call(warning("key", text, "See the line `database`."))
    return Call(None, _ahead(client.received))


def _uncounted(client: "_Client") -> Call:
    """Make one call without a database that could count it."""
    try:
        return Call(None, _ahead(client.symbols()))
    except FixerError as error:
        return _failed(error)


def _failed(error: FixerError) -> Call:
    return Call(fault("key", error.reason, error.advice), _ahead(error.fetch))


class _Client(FixerClient):
    """A client that keeps the response, for its date."""

    received: Fetch | None = None

    def symbols(self, **options: Any) -> Fetch:
        """Fetch the names of the currencies, as the client does."""
        self.received = super().symbols(**options)
        return self.received


def _call_and_store(settings: Settings, client: FixerClient) -> None:
    """Make the call as a run does. Raise FixerError, QuotaReached, StoreError."""
    if not is_current(settings.fx_database):
        raise StoreError("See the line `database`.")
    with (
        RateStore(settings.fx_database) as store,
        open_ledger(settings) as ledger,
    ):
        store.check_source(settings.fx_base, settings.known_provider)
        ingest_names(client, store, ledger)


def _ahead(fetch: Fetch | None) -> float | None:
    if fetch is None or fetch.provider_at is None:
        return None
    return (utc_now() - fetch.provider_at).total_seconds()


def clock(facts: Facts) -> Iterator[Finding]:
    """Compare the clock with the provider's: now, if a call is made, otherwise at the newest fetch."""
    call = facts.call.result()
    if call and call.clock_ahead is not None:
        seconds = call.clock_ahead
        if abs(seconds) > CLOCK_TOLERANCE:
            yield fault("clock", f"{_difference(seconds)} the provider's now", _CORRECT)
        else:
            yield ok("clock", "it agrees with the provider's")
        return
    with facts.stored() as store:
        ahead, error, is_empty = store.ahead(), store.clock_error(), store.is_empty()
    if is_empty:
        yield not_checked("clock", "no response is stored yet", "Compare it with `--call`.")
    elif ahead.count:
        yield of_message("clock", str(ahead).replace(": the clock was ahead. ", ". "))
    elif error:
        seconds = error.total_seconds()
        yield fault("clock", f"{_difference(seconds)} the provider's at the newest fetch", _CORRECT)
    else:
        yield ok("clock", "it agreed with the provider's at the newest fetch, within an hour")


_CORRECT = "Correct it, for example with NTP: `as_of` needs a correct clock."


def _difference(seconds: float) -> str:
    side = "ahead of" if seconds > 0 else "behind"
    return f"it is {counted(round(abs(seconds) / 60), 'minute')} {side}"
