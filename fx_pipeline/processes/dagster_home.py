"""Dagster's home: the folder with the instance of all runs, opened by the webserver and by `ingest`."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
from alembic.util.exc import CommandError
from filelock import FileLock
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fx_pipeline.processes.leftovers import held
from fx_pipeline.processes.run_locks import fail_abandoned_runs
from fx_pipeline.settings import PROJECT, SettingsError


def open_instance(home: Path) -> dg.DagsterInstance:
    """Return the Dagster instance in `home`, creating it if necessary. Raise SettingsError if that fails."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        # Two processes that create Dagster's files at the same moment leave them permanently unusable.
        with FileLock(home / "opening.lock"):
            _copy_configuration(home)
            os.environ["DAGSTER_HOME"] = str(home.absolute())
            return dg.DagsterInstance.get()
    except (OSError, SQLAlchemyError, CommandError) as error:
        raise SettingsError(
            f"Dagster's home {home} cannot be used ({first_line(error)}). Check permissions and disk "
            "space, or set DAGSTER_HOME to another folder."
        ) from None


def _copy_configuration(home: Path) -> None:
    """Copy the project's dagster.yaml into the home, in one step: a daemon may be reading it."""
    wanted, file = (PROJECT / "dagster.yaml").read_bytes(), home / "dagster.yaml"
    if not file.exists() or file.read_bytes() != wanted:
        new = home / "dagster.yaml.new"
        new.write_bytes(wanted)
        new.replace(file)


@contextmanager
def only_servers(home: Path) -> Iterator[None]:
    """Hold the home for the servers of one `up`, and report runs that earlier ones abandoned as failed.

    Raise SettingsError if another `up` holds the home, or it cannot be used.
    """
    with ExitStack() as holding:
        with open_instance(home) as instance:
            holding.enter_context(held(home))
            fail_abandoned_runs(instance)
        yield


def first_line(error: Exception) -> str:
    """Return the first line of an error, without the statement and the values that SQLAlchemy adds."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).splitlines()[0]
