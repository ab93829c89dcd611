"""Dagster's storage in PostgreSQL: whether it can be used, and one process that creates its tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from fx_pipeline.postgres import place_of, with_driver, without_password
from fx_pipeline.settings import SettingsError

CONNECT_SECONDS = 10
"""How long a connection may take. By default, a host that does not answer takes two minutes."""

_LOCK = 4_730_421_101
"""The key of the lock, which must be the same in all versions."""


@contextmanager
def opening(url: str) -> Iterator[None]:
    """Keep other processes from creating Dagster's tables during this block. Raise SettingsError.

    Without this, three processes that start together on an empty database can all fail.
    """
    if not find_spec("dagster_postgres"):
        raise SettingsError(
            "FX_DAGSTER_POSTGRES_URL needs further packages: install fx-pipeline[postgres], or unset it."
        )
    options = {} if "connect_timeout=" in url else {"connect_timeout": CONNECT_SECONDS}
    try:
        engine = create_engine(with_driver(url), poolclass=NullPool, connect_args=options)
        connection = engine.connect()
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    except SQLAlchemyError as error:
        raise unusable(url, error) from None
    with connection:  # the lock ends with the transaction
        yield


def unusable(url: str, error: Exception) -> SettingsError:
    """Return the error for a database that cannot be used."""
    return SettingsError(
        f"Dagster's PostgreSQL database {place_of(url)} cannot be used "
        f"({without_password(first_line(error), url)}). Check FX_DAGSTER_POSTGRES_URL and the server."
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error, without the statement and the values that SQLAlchemy adds."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).splitlines() or [type(cause).__name__])[0]
