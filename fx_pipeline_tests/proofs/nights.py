"""Years of nights in a short time: the runs of one real night are copied from night to night."""

import datetime as dt
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
from sqlalchemy import inspect, text

from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_internals.testing import add_tick, run_daemon_once, schedules_of
from fx_pipeline.definitions import defs
from fx_pipeline.defs.history import BUDGET, prune
from fx_pipeline.replication.backup import back_up, default_place
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.defs.rates_run import QUIET, resources, run_rates, run_table_checks
from fx_pipeline_tests.sandbox_server import Sandbox

FIRST = dt.date(2020, 1, 1)
"""The first of the three days of the real run. Each night's run begins a day later."""

TICKS = 4
"""How often a schedule is due in a night. Some are due only once."""

COPY_EVENTS = """INSERT INTO event_logs
    (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
    SELECT :new, {event}, dagster_event_type, timestamp, step_key, asset_key, {partition}
    FROM event_logs WHERE run_id = :old ORDER BY id"""
COPY_RESULTS = """INSERT INTO asset_check_executions
    (asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id)
    SELECT asset_key, check_name, partition, :new, execution_status, {evaluation_event},
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id
    FROM asset_check_executions WHERE run_id = :old ORDER BY id"""
COPY_RUN = """INSERT INTO runs (run_id, snapshot_id, pipeline_name, status, run_body, start_time, end_time)
    SELECT :new, snapshot_id, pipeline_name, status, {run_body}, :now, :now FROM runs WHERE run_id = :old"""
COPY_TAGS = """INSERT INTO run_tags (run_id, key, value)
    SELECT :new, key, value FROM run_tags WHERE run_id = :old"""


class Nights:
    """The nights of an instance. Each has a try that fails, a good one, checks, and pruning."""

    def __init__(self, instance: dg.DagsterInstance, sandbox: Sandbox, kept: int) -> None:
        """Execute the runs of one real night. `kept` is the number of nights whose runs are not old."""
        self.instance, self.kept = instance, kept
        self.number = 0
        last = str(FIRST + dt.timedelta(days=2))
        sandbox.change(faults={"wrong-date": 1.0})
        failed = run_rates(instance, sandbox, str(FIRST), last)
        sandbox.change(faults={})
        good = run_rates(instance, sandbox, str(FIRST), last)
        database = load_settings().fx_database
        back_up(database, database.with_name("tokens.db"), default_place(database), utc_now())
        runs = [
            failed,
            good,
            run_table_checks(instance),
            defs.resolve_job_def("database_job").execute_in_process(
                instance=instance, run_config=QUIET, resources=resources(sandbox.url)
            ),
            defs.resolve_job_def("history_job").execute_in_process(instance=instance, run_config=QUIET),
        ]
        assert [run.success for run in runs] == [False, True, True, True, True]
        with loaded_workspace(instance) as workspace:
            run_daemon_once(workspace, utc_now())  # it stores the state of the schedules
            self._schedules = schedules_of(workspace)
        self._own = runs[0].dagster_run
        self._runs = [run.run_id for run in runs]
        self._ended: list[dt.datetime] = []

    @property
    def runs_of_a_night(self) -> int:
        """How many runs each night has."""
        return len(self._runs)

    @property
    def days(self) -> int:
        """How many days have been fetched."""
        return self.number + 3

    def add(self) -> Mapping[str, int] | None:
        """Add a night. Return what pruning deleted, or None if no run was old yet."""
        first = FIRST + dt.timedelta(days=self.number)
        self._runs = [self._repeat(run, first) for run in self._runs]
        for schedule in self._schedules:
            for _ in range(TICKS):
                add_tick(self.instance, schedule, self._runs[0], utc_now())
        self._ended.append(utc_now())
        self.number += 1
        if self.number <= self.kept:
            return None
        return prune(self.instance, self._own, self._ended[-1 - self.kept], BUDGET)

    def _repeat(self, run_id: str, first: dt.date) -> str:
        """Add a copy of a run about the three days from `first`, a day later. It ends now. Return its id."""
        values: dict[str, Any] = {"old": run_id, "new": str(uuid4()), "now": time.time()}
        values |= {f"day{number}": str(first + dt.timedelta(days=number)) for number in range(4)}
        with self.instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
            connection.execute(text(_with_replacements(COPY_RUN)), values)
            connection.execute(text(COPY_TAGS), values)
        with self.instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
            connection.execute(text(_with_replacements(COPY_EVENTS)), values)
            connection.execute(text(_with_replacements(COPY_RESULTS)), values)
        home = Path(self.instance.root_directory)
        if (file := home / "history" / "runs" / f"{run_id}.db").exists():
            shutil.copy(file, file.with_name(f"{values['new']}.db"))
        if (output := home / "storage" / run_id).exists():
            shutil.copytree(output, output.with_name(values["new"]))
        return str(values["new"])

    def size(self) -> dict[str, int]:
        """Return the files and bytes of Dagster's home, and the rows of each table in it that has any."""
        files = [path for path in Path(self.instance.root_directory).rglob("*") if path.is_file()]
        sizes = {"files": len(files), "kB": sum(file.stat().st_size for file in files) // 1000}
        for storage in (
            self.instance.run_storage.connect,  # type: ignore[attr-defined]
            self.instance.event_log_storage.index_connection,  # type: ignore[attr-defined]
            self.instance.schedule_storage.connect,  # type: ignore[union-attr]
        ):
            with storage() as connection:
                for table in inspect(connection).get_table_names():
                    rows = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar()  # noqa: S608
                    if rows:
                        sizes[table] = rows
                if connection.dialect.name == "postgresql":
                    whole = "SELECT pg_database_size(current_database()) / 1000"
                    sizes["kB"] = connection.execute(text(whole)).scalar()
        return sizes


def _with_replacements(statement: str) -> str:
    """Return a statement whose {columns} have another run and other days than the row that they copy."""

    def replaced(column: str) -> str:
        # The last day first, so that no day is replaced twice.
        for old, new in (("old", "new"), ("day2", "day3"), ("day1", "day2"), ("day0", "day1")):
            column = f"replace({column}, :{old}, :{new})"
        return column

    columns = ("event", "partition", "evaluation_event", "run_body")
    return statement.format(**{column: replaced(column) for column in columns})
