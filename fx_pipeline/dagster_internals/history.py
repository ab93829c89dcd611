"""The stored history of runs: what of it is deleted, and which events the pages of the assets still need.

The public `DagsterInstance.delete_run` deletes these events too: the days of the run become missing as soon
as Dagster rebuilds its cache of partitions. It leaves the results of checks, the output and, with SQLite, the
file of the run. No public function deletes single events, so this module uses Dagster's tables.
"""

import datetime as dt
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import sqlalchemy as db
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from fx_pipeline.dagster_internals.tags import REPOSITORY_TAG

EVENTS = SqlEventLogStorageTable.c
CHECKS = AssetCheckExecutionsTable.c

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

IN_ONE_STATEMENT = 500
"""Ids in one statement. Older versions of SQLite allow 999 parameters."""


class Freed(NamedTuple):
    """What a deletion freed. Rows count as the characters of their events."""

    files: int = 0
    rows: int = 0
    size: int = 0
    """Bytes."""

    def plus(self, other: "Freed") -> "Freed":
        """Return the sum of both."""
        return Freed(*(one + another for one, another in zip(self, other, strict=True)))


def location_of(run: dg.DagsterRun) -> str | None:
    """Return the name of the code location of a run. None if it ran in the process that created it."""
    origin = run.remote_job_origin
    return origin.repository_origin.code_location_origin.location_name if origin else None


def ended_runs(
    instance: dg.DagsterInstance, jobs: Iterable[str], ui: dg.DagsterRun, before: dt.datetime
) -> list[dg.DagsterRun]:
    """Return the runs of these jobs that ended before an instant, oldest first.

    Include runs that the UI launched in the repository of the run `ui`: they have a job of Dagster's own.
    """
    origin = ui.remote_job_origin
    tags = {REPOSITORY_TAG: origin.repository_origin.get_label()} if origin else {}
    records = [
        record
        for job, tags_of_job in (*((job, {}) for job in jobs), (IMPLICIT_ASSET_JOB_NAME, tags))
        for record in instance.get_run_records(
            dg.RunsFilter(job_name=job, statuses=FINISHED, tags=tags_of_job, created_before=before)
        )
    ]
    ended = [
        record
        for record in records
        if (record.end_time or record.update_timestamp.timestamp()) < before.timestamp()
    ]
    return [record.dagster_run for record in sorted(ended, key=lambda record: record.storage_id)]


def purge_ticks(instance: dg.DagsterInstance, names: Collection[str], before: dt.datetime) -> None:
    """Delete the ticks of these schedules before an instant. By default, Dagster keeps most."""
    for state in instance.all_instigator_state():
        if state.instigator_name in names:
            instance.purge_ticks(state.instigator_origin_id, state.selector_id, before.timestamp())


class History:
    """The stored history of some assets. It is read once, so use a new one each night."""

    def __init__(self, instance: dg.DagsterInstance, assets: Collection[dg.AssetKey]) -> None:
        """Read what must stay. Raise TypeError if the storage has no tables that Dagster defines."""
        storage = instance.event_log_storage
        if not isinstance(storage, SqlEventLogStorage):
            raise TypeError(f"Dagster's storage is a {type(storage).__name__}, which has no SQL tables.")
        self._instance = instance
        self._storage = storage
        keys = [asset.to_string() for asset in assets]
        self._materializations = db.and_(
            EVENTS.asset_key.in_(keys),
            EVENTS.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        )
        self._results = CHECKS.asset_key.in_(keys)
        latest_materializations = (
            db.select(db.func.max(EVENTS.id))
            .where(self._materializations)
            .group_by(EVENTS.asset_key, EVENTS.partition)
        )
        latest_results = (
            db.select(db.func.max(CHECKS.id))
            .where(self._results, CHECKS.execution_status != "PLANNED")
            .group_by(CHECKS.asset_key, CHECKS.check_name, CHECKS.partition)
        )
        with storage.index_connection() as connection:
            self._latest = {row[0] for row in connection.execute(latest_materializations)}
            self._latest_results = {row[0] for row in connection.execute(latest_results)}
        attempts = [
            storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
            for asset in assets
        ]
        self.failed_attempts = {run for by_partition in attempts for run, _ in by_partition.values()}
        """The runs that were the last to try a partition, without success. The UI shows it as failed only as
        long as its run exists."""

    def delete_run(self, run_id: str) -> Freed:
        """Delete a run, but not its events that are the latest materialization of a partition.

        The run itself goes last: if this ends early, another call deletes the rest. Raise OSError if a file
        cannot be deleted.
        """
        freed = self._delete_output(run_id)
        with self._storage.index_connection() as connection:
            events = connection.execute(
                db.select(EVENTS.id, db.func.length(EVENTS.event)).where(EVENTS.run_id == run_id)
            )
            sizes = {row[0]: row[1] for row in events if row[0] not in self._latest}
            _delete(connection, EVENTS.id, sizes)
            _delete(connection, AssetEventTagsTable.c.event_id, sizes)
        freed = freed.plus(Freed(rows=len(sizes), size=sum(sizes.values())))
        if isinstance(self._storage, SqliteEventLogStorage):
            file = Path(self._storage.path_for_shard(run_id))
            freed = freed.plus(_delete_files(file.with_name(file.name + end) for end in ("", "-wal", "-shm")))
        if self._storage.supports_global_concurrency_limits:
            self._storage.free_concurrency_slots_for_run(run_id)
        self._instance.run_storage.delete_run(run_id)
        return freed

    def _delete_output(self, run_id: str) -> Freed:
        """Delete what the run wrote to its standard output. Other machines delete theirs themselves."""
        logs = self._instance.compute_log_manager
        if not isinstance(logs, LocalComputeLogManager):
            logs.delete_logs(prefix=[run_id])
            return Freed()
        folder = Path(logs.get_captured_local_path([run_id, "any"], "out")).parent
        sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
        if folder.is_dir():
            shutil.rmtree(folder)
        return Freed(files=len(sizes), size=sum(sizes))

    def delete_superseded(self) -> Freed:
        """Delete what deleted runs left because it was the latest at the time, and no longer is."""
        freed = Freed()
        for table, mine, latest, text in (
            (EVENTS, self._materializations, self._latest, EVENTS.event),
            (CHECKS, self._results, self._latest_results, CHECKS.evaluation_event),
        ):
            query = db.select(table.id, table.run_id, db.func.coalesce(db.func.length(text), 0)).where(mine)
            with self._storage.index_connection() as connection:
                rows = [row for row in connection.execute(query) if row[0] not in latest]
            existing = self._existing({row[1] for row in rows})
            sizes = {row[0]: row[2] for row in rows if row[1] not in existing}
            with self._storage.index_connection() as connection:
                _delete(connection, table.id, sizes)
                if table is EVENTS:
                    _delete(connection, AssetEventTagsTable.c.event_id, sizes)
            freed = freed.plus(Freed(rows=len(sizes), size=sum(sizes.values())))
        return freed

    def _existing(self, run_ids: Collection[str]) -> set[str]:
        return {
            found
            for some in _chunks(run_ids)
            for found in self._instance.get_run_ids(dg.RunsFilter(run_ids=some))
        }


def _delete(connection: "db.Connection", column: "db.Column[Any]", ids: Mapping[int, int]) -> None:
    for some in _chunks(ids):
        connection.execute(db.delete(column.table).where(column.in_(some)))


def _chunks(ids: Collection[Any]) -> Iterator[list[Any]]:
    listed = list(ids)
    for start in range(0, len(listed), IN_ONE_STATEMENT):
        yield listed[start : start + IN_ONE_STATEMENT]


def _delete_files(files: Iterable[Path]) -> Freed:
    sizes = []
    for file in files:
        if file.exists():
            sizes.append(file.stat().st_size)
            file.unlink(missing_ok=True)
    return Freed(files=len(sizes), size=sum(sizes))
