"""Dagster's home: the folder with the instance of all runs, or with the file that leads to its database."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import dagster as dg
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from fx_pipeline.dagster_internals.runs import stores_in_home
from fx_pipeline.defs.run_locks import fail_abandoned_runs, fail_killed_runs
from fx_pipeline.postgres import place_of, with_driver
from fx_pipeline.processes import postgres_storage
from fx_pipeline.processes.instance_file import file_in, kept_file, write_file
from fx_pipeline.processes.leftovers import unusable
from fx_pipeline.processes.postgres_storage import first_line
from fx_pipeline.settings import SettingsError, load_settings


def open_instance(home: Path) -> dg.DagsterInstance:
    """Return the Dagster instance in `home`, or in FX_DAGSTER_POSTGRES_URL. Create what is missing.

    Raise SettingsError if that fails.
    """
    url = _postgres_url()
    with _explained(home, url):
        home.mkdir(parents=True, exist_ok=True)
        with _alone(home), postgres_storage.opening(url) if url else nullcontext():
            write_file(home, postgres=url is not None)
            return _instance(home, url)


def existing_instance(home: Path) -> dg.DagsterInstance:
    """Return the instance that `open_instance` has created. Raise SettingsError."""
    url = _postgres_url()
    with _explained(home, url):
        return _instance(home, url)


def _instance(home: Path, url: str | None) -> dg.DagsterInstance:
    os.environ["DAGSTER_HOME"] = str(home.absolute())
    if url:
        os.environ["FX_DAGSTER_POSTGRES_URL"] = with_driver(url)
    return dg.DagsterInstance.get()


@contextmanager
def _explained(home: Path, url: str | None) -> Iterator[None]:
    """Turn errors of the storage into a SettingsError that says what to do."""
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:
        if url and is_storage_error(error) and not isinstance(error, OSError):
            raise postgres_storage.unusable(url, error) from None
        if is_storage_error(error):
            raise unusable(home, first_line(error)) from None
        if kept_file(home) is None:
            raise
        raise SettingsError(
            f"{file_in(home)} cannot be used ({_reason(error)}). Correct it, or remove it to get that of "
            "fx-pipeline."
        ) from None


def prepare(home: Path, *, for_up: bool = False) -> None:
    """Create the home if necessary, and report runs of this machine that were killed as failed.

    `for_up` is for the `up` that holds the home: no other process executes runs. Raise SettingsError.
    """
    database = load_settings().fx_database
    with open_instance(home) as instance:
        if for_up:
            fail_abandoned_runs(instance, database)
        else:
            fail_killed_runs(instance, database)


def storage_of(instance: dg.DagsterInstance) -> str:
    """Return where the runs and events are, for a message."""
    url = _postgres_url()
    if url is None or stores_in_home(instance):
        return f"Dagster's home {instance.root_directory}"
    return f"Dagster's PostgreSQL database {place_of(url)}"


def is_storage_error(error: Exception) -> bool:
    """Return whether Dagster raises this error if its files or its database cannot be used."""
    # dagster-postgres may not be installed.
    return isinstance(error, OSError | SQLAlchemyError | CommandError) or (
        type(error).__name__ == "DagsterPostgresException"
    )


def _postgres_url() -> str | None:
    url = load_settings().fx_dagster_postgres_url
    return url.get_secret_value() if url else None


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep other processes out: two that create Dagster's files together leave them permanently unusable.

    The lock is on the folder itself, so that nothing is written into the home of someone else.
    """
    folder = os.open(home, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _reason(error: Exception) -> str:
    if isinstance(error, dg.DagsterInvalidConfigError) and error.errors:
        return error.errors[0].message.splitlines()[0]
    return first_line(error)


def main() -> None:
    """Prepare the home of the settings for `up`, in a process of its own: Dagster takes 70 MB."""
    try:
        prepare(load_settings().dagster_home, for_up=True)
    except SettingsError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
