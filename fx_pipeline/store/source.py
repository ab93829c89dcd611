"""The one base and the one provider of a database. Rates of another are refused."""

from collections.abc import Iterable
from pathlib import Path

from sqlite_utils import Database

from fx_pipeline.store.database import StoreError

_PROVIDERS = {"sandbox": "the sandbox", "fixer": "Fixer"}


def refuse_other_base(db: Database, path: Path, bases: Iterable[str]) -> None:
    """Raise StoreError if one of these bases is not the base of the stored rates."""
    stored, other = _stored_and_other(db, "SELECT base FROM days LIMIT 1", bases)
    if other is not None:
        raise StoreError(
            f"{path} holds rates with base {stored}, not {other}: "
            f"set FX_BASE back to {stored}, or FX_DATABASE to another file."
        )


def refuse_other_provider(db: Database, path: Path, providers: Iterable[str]) -> None:
    """Raise StoreError if one of these providers did not provide the stored rates."""
    stored, other = _stored_and_other(
        db, "SELECT provider FROM fetches WHERE id = (SELECT fetch_id FROM days LIMIT 1)", providers
    )
    if other is not None:
        remedy = "Remove the demo's data folder" if stored == "sandbox" else "Set FIXER_ACCESS_KEY again"
        raise StoreError(
            f"{path} holds rates from {_PROVIDERS[stored]}. Rates from {_PROVIDERS[other]} are not added to "
            f"them, because some of the sandbox's rates are made up. {remedy}, or set FX_DATABASE and "
            "DAGSTER_HOME to new places."
        )


def _stored_and_other(db: Database, query: str, coming: Iterable[str]) -> tuple[str, str | None]:
    """Return the stored value (the first to come if none is stored), and the first that differs from it."""
    stored = [value for (value,) in db.execute(query)]
    first, *others = [*dict.fromkeys([*stored, *coming]), None]
    return str(first), others[0] if others else None
