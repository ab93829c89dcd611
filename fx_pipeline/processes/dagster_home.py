"""Dagster's home: the folder with the instance of all runs, opened by the webserver and by `ingest`."""

import os
import sys
from pathlib import Path

import dagster as dg
from alembic.util.exc import CommandError
from filelock import FileLock
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fx_pipeline.defs.run_locks import fail_abandoned_runs
from fx_pipeline.processes.leftovers import unusable
from fx_pipeline.settings import PROJECT, SettingsError, load_settings


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
        raise unusable(home, first_line(error)) from None


def _copy_configuration(home: Path) -> None:
    """Copy the project's dagster.yaml into the home, in one step: a daemon may be reading it."""
    wanted, file = (PROJECT / "dagster.yaml").read_bytes(), home / "dagster.yaml"
    if not file.exists() or file.read_bytes() != wanted:
        new = home / "dagster.yaml.new"
        new.write_bytes(wanted)
        new.replace(file)


def prepare(home: Path) -> None:
    """Create the home if necessary, and report runs that an earlier `up` abandoned as failed.

    Only for the `up` that holds the home. Raise SettingsError if it cannot be used.
    """
    with open_instance(home) as instance:
        fail_abandoned_runs(instance, load_settings().fx_database)


def first_line(error: Exception) -> str:
    """Return the first line of an error, without the statement and the values that SQLAlchemy adds."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).splitlines()[0]


def main() -> None:
    """Prepare the home of the settings, in a process of its own: Dagster takes 70 MB."""
    try:
        prepare(load_settings().dagster_home)
    except SettingsError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
