"""The speed of ingestion: `python -m benchmarks.ingest [--days N] [--rounds N]`.

Each figure comes from a process of its own. Each round runs everything that is compared. The table shows the
medians of the rounds. The provider is a sandbox with 170 currencies, in another process.
"""

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import dagster as dg

from benchmarks.results import publish, table, yes
from fx_pipeline.dagster_internals.runs import execute_run
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.jobs import rates_job
from fx_pipeline.defs.run_config import range_tags
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.parsing import parse_historical
from fx_pipeline.fixer.sandbox.ecb import EcbHistory
from fx_pipeline.fixer.sandbox.protocol import Protocol
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.ports import reserved_port

CURRENCIES = 170
FIRST = dt.date(2014, 1, 1)

BATCH = 16
"""Days stored in one transaction: about as many arrive while the batch before is stored."""

REVISED = 20
"""One value in this many differs when the days are fetched again."""

Figures = dict[str, float]


def backfill(folder: Path, days: int) -> Figures:
    """Fetch and store days through Dagster, in runs as long as those of a backfill."""
    figures = _run_all(folder, days, defs.resolve_job_def(rates_job.name), RATES)
    with closing(sqlite3.connect(folder / "fx.db")) as connection:
        as_left = _bytes_of_a_rate(connection)
        connection.execute("VACUUM")  # as `rebuild` does
        return {**figures, "bytes": as_left, "packed": _bytes_of_a_rate(connection)}


def _bytes_of_a_rate(connection: sqlite3.Connection) -> float:
    """Return the bytes of one rate, including its indexes: of the pages that all of them would free."""
    [rates] = connection.execute("SELECT count(*) FROM rates").fetchone()
    [page] = connection.execute("PRAGMA page_size").fetchone()
    [free] = connection.execute("PRAGMA freelist_count").fetchone()
    connection.execute("DELETE FROM rates")
    [freed] = connection.execute("PRAGMA freelist_count").fetchone()
    connection.rollback()
    return float((freed - free) * page / rates)


def empty(folder: Path, days: int) -> Figures:
    """Materialize as many dates of an asset that does nothing, under the same policies."""
    rates = defs.get_assets_def(RATES)

    @dg.asset(
        partitions_def=rates.partitions_def,
        backfill_policy=rates.backfill_policy,
        retry_policy=rates.op.retry_policy,
        output_required=False,
    )
    def nothing(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
        for key in context.partition_keys:
            yield dg.AssetMaterialization(context.asset_key, partition=key)

    job = dg.define_asset_job("nothing_job", [nothing])
    bare = dg.Definitions(assets=[nothing], jobs=[job], executor=dg.in_process_executor)
    return _run_all(folder, days, bare.resolve_job_def("nothing_job"), nothing.key)


def _run_all(folder: Path, days: int, job: dg.JobDefinition, asset: dg.AssetKey) -> Figures:
    policy = defs.get_assets_def(RATES).backfill_policy
    per_run = policy.max_partitions_per_run if policy else None
    keys = [(FIRST + dt.timedelta(days=offset)).isoformat() for offset in range(days)]
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    seconds, cpu = time.perf_counter(), time.process_time()
    with open_instance(folder / "dagster") as instance:
        for start in range(0, days, per_run or days):
            part = keys[start : start + (per_run or days)]
            run = instance.create_run_for_job(job, run_config=quiet, tags=range_tags(part[0], part[-1]))
            execute_run(job, run, instance, raise_on_error=True)
        if len(instance.get_materialized_partitions(asset)) != days:
            raise RuntimeError("not every date was materialized")
    return {
        "seconds": time.perf_counter() - seconds,
        "CPU": time.process_time() - cpu,
        "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def store(folder: Path, days: int) -> Figures:
    """Store days with RateStore, then the same days with some values revised; return rows per second."""
    with RateStore(folder / "fx.db") as rates:
        return _rows_a_second(days, rates.record)


def bare(folder: Path, days: int) -> Figures:
    """Upsert the same rows with sqlite3's executemany, in as many transactions, and do nothing else."""
    RateStore(folder / "fx.db").close()
    with closing(sqlite3.connect(folder / "fx.db")) as connection:

        def upsert(rows: Sequence[tuple[object, ...]]) -> None:
            connection.executemany(
                """
                INSERT INTO rates (date, currency, rate, fetch_id) VALUES (?, ?, ?, ?)
                ON CONFLICT (date, currency) DO UPDATE SET rate = excluded.rate, fetch_id = excluded.fetch_id
                """,
                rows,
            )
            connection.commit()

        return _rows_a_second(days, upsert, prepared=_as_rows)


PARTS: Mapping[str, Callable[[Path, int], Figures]] = {
    "backfill": backfill,
    "empty": empty,
    "store": store,
    "bare": bare,
}


def _rows_a_second(
    days: int,
    write: Callable[[list[Fetch]], object] | Callable[[list[tuple[object, ...]]], object],
    prepared: Callable[[list[Fetch]], list[object]] = list,
) -> Figures:
    figures: Figures = {}
    for reading, name in enumerate(("new", "again")):
        seconds = cpu = rows = 0.0
        for start in range(0, days, BATCH):
            fetches = [_fetched(offset, reading) for offset in range(start, min(start + BATCH, days))]
            rows += sum(len(fetch.days[0].rates) for fetch in fetches)
            what = prepared(fetches)
            seconds, cpu = seconds - time.perf_counter(), cpu - time.process_time()
            write(what)  # type: ignore[arg-type]  # it is what `prepared` makes for it
            seconds, cpu = seconds + time.perf_counter(), cpu + time.process_time()
        figures |= {name: rows / seconds, f"{name}, CPU": rows / cpu}
    return figures


def _as_rows(fetches: list[Fetch]) -> list[object]:
    return [
        (str(day.date), code, rate, 1)
        for fetch in fetches
        for day in fetch.days
        for code, rate in day.rates.items()
    ]


def _fetched(offset: int, reading: int) -> Fetch:
    """Return what the client makes of the sandbox's response for one day."""
    date = FIRST + dt.timedelta(days=offset)
    asked_at = dt.datetime.now(dt.timezone.utc)
    history = _history()
    document = Protocol(rates=history.rates, names=history.names, now=asked_at).answer(
        "historical", {"date": date.isoformat()}
    )
    rates = document["rates"]
    if reading and isinstance(rates, dict):
        for code in sorted(rates.keys() - {"EUR"})[offset % REVISED :: REVISED]:
            rates[code] *= 1.001
    body = json.dumps(document).encode()
    return Fetch(
        endpoint="historical",
        base="EUR",
        symbols=(),
        start_date=date,
        end_date=date,
        asked_at=asked_at,
        status="ok",
        body=body,
        days=parse_historical(body, date, "EUR", asked_at=asked_at),
    )


@cache
def _history() -> EcbHistory:
    return EcbHistory(CURRENCIES)


@contextmanager
def sandbox() -> Iterator[str]:
    """Run a sandbox with 170 currencies in another process, and yield its address."""
    command = [sys.executable, "-m", "fx_pipeline", "sandbox", "--currencies", str(CURRENCIES), "--port"]
    with (
        reserved_port() as port,
        subprocess.Popen([*command, str(port)], stdout=subprocess.PIPE) as process,
    ):
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("the sandbox did not start")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _measure(part: str, days: int, provider: str) -> Figures:
    """Run one part in a new process and a new folder."""
    with TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "FIXER_BASE_URL": provider,
            "FIXER_ACCESS_KEY": "benchmark",
            "FX_DATABASE": f"{folder}/fx.db",
            "DAGSTER_HOME": f"{folder}/dagster",
        }
        command = [sys.executable, "-m", "benchmarks.ingest", "--part", part, "--days", str(days)]
        output = subprocess.run(
            [*command, "--folder", folder], env=environment, check=True, stdout=subprocess.PIPE
        )
    figures: Figures = json.loads(output.stdout.splitlines()[-1])
    print(f"{part:<9}", {name: round(value, 1) for name, value in figures.items()}, file=sys.stderr)
    return figures


def _report(rounds: list[dict[str, Figures]], days: int) -> None:
    def middle(part: str, figure: str) -> float:
        return median(one[part][figure] for one in rounds)

    def compared(what: str, part: str, other: str, figure: str, unit: str) -> list[str]:
        ratio = median(one[part][figure] / one[other][figure] for one in rounds)
        here, baseline = f"{middle(part, figure):,.0f} {unit}", f"{middle(other, figure):,.0f} {unit}"
        bound, reached = ("≥ 0.5", ratio >= 0.5) if part == "store" else ("≤ 1.3", ratio <= 1.3)
        return [what, here, baseline, f"{ratio:.2f}", bound, yes(reached)]

    def measured(what: str, figure: str, unit: str, most: float) -> list[str]:
        value = middle("backfill", figure)
        return [what, f"{value:,.0f} {unit}", "", "", f"≤ {most:.0f} {unit}", yes(value <= most)]

    backfills = f"a backfill of {days:,} dates; baseline: as many empty materializations"
    new = "storing new rows; baseline: a bare upsert"
    again = "storing refetched rows, a twentieth revised; baseline: a bare upsert"
    rows = [
        compared(backfills, "backfill", "empty", "seconds", "s"),
        compared("the same, CPU", "backfill", "empty", "CPU", "s"),
        compared(new, "store", "bare", "new", "rows/s"),
        compared("the same, CPU", "store", "bare", "new, CPU", "rows/s"),
        compared(again, "store", "bare", "again", "rows/s"),
        compared("the same, CPU", "store", "bare", "again, CPU", "rows/s"),
        measured("peak memory of the backfill", "MB", "MB", 400),
        measured("a rate with its indexes, after a backfill", "bytes", "bytes", 60),
        measured("the same, after `fx-pipeline rebuild`", "packed", "bytes", 60),
    ]
    text = (
        f"{days:,} dates × {CURRENCIES} currencies, from a sandbox in another process, in runs as long as "
        f"those of a backfill. Rows are stored {BATCH} days at a time. Medians of {len(rounds)} rounds; each "
        "ratio compares two figures of the same round."
    )
    columns = ["what", "here", "baseline", "ratio", "target", "reached"]
    publish("Ingestion", f"{text}\n\n{table(columns, rows)}")


def main() -> None:
    """Measure all parts and publish the table; with --part, measure one part in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=3650)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.folder, options.days)))
        return
    with sandbox() as provider:
        rounds = [
            {part: _measure(part, options.days, provider) for part in PARTS} for _ in range(options.rounds)
        ]
    _report(rounds, options.days)


if __name__ == "__main__":
    main()
