"""Write an export: all files the first time, afterwards those that a change of the database may change."""

import datetime as dt
from dataclasses import dataclass

from pydantic import ValidationError

from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.endpoints.operation import Context
from fx_pipeline.api.reading.files import one_commit
from fx_pipeline.api.reading.lanes import Effort, Limit
from fx_pipeline.api.reading.metadata import read_metadata
from fx_pipeline.api.reading.queries import DATABASE, Queries
from fx_pipeline.export.changes import Changes, Mark, State, changes_since
from fx_pipeline.export.contents import DAYS, HISTORY, LISTS, Contents
from fx_pipeline.export.folder import ExportError, Folder
from fx_pipeline.settings import PROJECT, Settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import explained


@dataclass(frozen=True, slots=True)
class Exported:
    """How many days an export holds, and how many files it wrote and removed."""

    days: int
    written: int
    removed: int


def export(settings: Settings, folder: Folder, now: dt.datetime) -> Exported:
    """Bring the folder up to date with the database, as one commit left it.

    Raise ExportError if the folder cannot be used or no day is stored, StoreError if the database cannot be
    read.
    """
    database = settings.fx_database
    with folder.held(), explained(database), one_commit(database) as connection:
        return _export(connection, settings, folder, now)


def _export(connection: sqlite3.Connection, settings: Settings, folder: Folder, now: dt.datetime) -> Exported:
    days = [date for (date,) in connection.execute("SELECT date FROM days")]
    if not days:
        raise ExportError(f"{settings.fx_database} holds no day. Run `fx-pipeline ingest` first.")
    contents = Contents(_context(connection, settings, now), days)
    mark, last = Mark.of(connection), _last(folder)
    changes = changes_since(connection, last.mark, mark) if last else None
    if last is None or changes is None:
        _write_all(folder, contents)
    else:
        _write_changed(folder, contents, changes, last)
    for name, content in contents.of_the_rest():
        folder.put(name, content)
    state = State(
        mark=mark,
        newest=contents.newest,
        days=contents.days_by_year,
        lifespans=contents.lifespans,
        incomplete=sorted(contents.incomplete),
    )
    folder.save(state.model_dump_json().encode())
    return Exported(len(days), folder.written, folder.removed)


def _last(folder: Folder) -> State | None:
    """Return the state of the last export; None if there is none, or if it was killed or changed."""
    try:
        return State.model_validate_json(folder.state())
    except ValidationError:
        return None


def _write_all(folder: Folder, contents: Contents) -> None:
    names = {f"{DAYS}/{name}" for name in LISTS}
    for name, content in contents.of_days(contents.days):
        folder.put(name, content)
        names.add(name)
    for code in contents.lifespans:
        for year in contents.years_of(code):
            path, history = contents.of_year(year, code)
            folder.put(path, history)
            if history is not None:
                names.add(path)
    folder.keep_only(names, [DAYS, HISTORY])


def _write_changed(folder: Folder, contents: Contents, changes: Changes, last: State) -> None:
    """Write the files of the changed days, and the histories that follow from them.

    A new day changes the histories of all currencies in its year: one without a rate on it says so. A history
    that names the first and the last day of its currency changes when these do, in any year.
    """
    for name, content in contents.of_days(changes.days):
        folder.put(name, content)
    wanted = {
        (year, code) for year, codes in changes.codes.items() for code in codes & contents.lifespans.keys()
    }
    counts = contents.days_by_year
    whole = {year for year in counts if counts[year] != last.days.get(year)}
    if last.newest != contents.newest:
        # The history of the latest day's year has no end.
        whole |= {last.newest[:4], contents.newest[:4]}
    wanted |= {(year, code) for year in whole for code in contents.lifespans}
    for path in last.incomplete:
        _, code, year = path.split("/")
        if last.lifespans.get(code) != contents.lifespans.get(code):
            wanted.add((year, code))
        elif (year, code) not in wanted:
            contents.incomplete.add(path)
    for year, code in sorted(wanted):
        path, history = contents.of_year(year, code)
        folder.put(path, history)


def _context(connection: sqlite3.Connection, settings: Settings, now: dt.datetime) -> Context:
    metadata = read_metadata(PROJECT / "datasette_config" / "metadata.yaml")
    sql = {name: query["sql"] for name, query in metadata["databases"][DATABASE]["queries"].items()}
    queries = Queries(connection, sql, Effort(Limit(float("inf"))))
    return Context(queries, now, settings, OPERATIONS)
