"""The names of the currencies, and the symbols that the provider does not know."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import FixerError, InvalidSymbols
from fx_pipeline.fixer.pace import Pace
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore


def ingest_names(
    client: FixerClient,
    store: RateStore,
    ledger: Ledger,
    *,
    daily: bool = False,
    pace: Pace | None = None,
) -> Mapping[str, str]:
    """Store the names of the currencies and return them by code. `daily` as in `Ledger.spend`.

    An error response is stored, too. Raise FixerError, QuotaReached, StoreError.
    """
    fetch_id = ledger.open("symbols", base=client.base)
    try:
        fetch = client.symbols(
            spend=partial(ledger.spend, fetch_id, daily=daily),
            refund=partial(ledger.refund, fetch_id),
            pace=pace,
        )
    except FixerError as error:
        if error.fetch is None:
            ledger.close_unanswered(fetch_id, error.reason, error.calls)
        else:
            store.record([replace(error.fetch, fetch_id=fetch_id)], run_id=ledger.run_id)
        raise
    store.record([replace(fetch, fetch_id=fetch_id)], run_id=ledger.run_id)
    return fetch.names


def exclude_symbols(client: FixerClient, unknown: Collection[str]) -> None:
    """Make the client request its symbols without those that the provider does not know.

    Raise InvalidSymbols if only the base would be left.
    """
    before = client.requested_symbols
    client.exclude_symbols(unknown)
    if before and set(before) != {client.base} == set(client.requested_symbols):
        codes = ", ".join(code for code in before if code != client.base)
        raise InvalidSymbols(
            f"none of the currencies in FX_SYMBOLS is known: {codes}. If one of them is new, materialize the "
            "asset `symbols` in Dagster, which reads Fixer's list again"
        )


def unknown_symbols(client: FixerClient, names: Collection[str]) -> list[str]:
    """Return the requested symbols that are not among `names`. Raise InvalidSymbols if all of them are."""
    requested = client.requested_symbols
    unknown = [code for code in requested if code not in names and code != client.base]
    if not unknown:
        raise InvalidSymbols(
            f"one of {', '.join(requested)} is refused, although the list of currencies has all of them"
        )
    return unknown
