"""The writer, Litestream, or all of replication is killed under load: a restore is a prefix of the commits.

FX_TESTS_KILLS sets the number of rounds.
"""

import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fx_pipeline.clock import end_of_day, utc_now
from fx_pipeline.fetch import Fetch
from fx_pipeline.replication import litestream
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import environment
from fx_pipeline_tests.fixer_days import day_of
from fx_pipeline_tests.object_store import ObjectStore, running_store
from fx_pipeline_tests.replication.replicating import Replicating
from fx_pipeline_tests.replication.replicating import replicating as replicated
from fx_pipeline_tests.seeds import seeded_random
from fx_pipeline_tests.stored import assert_consistent, dump, rows
from fx_pipeline_tests.waiting import wait_for

ROUNDS = int(os.environ.get("FX_TESTS_KILLS", "3"))

KINDS = ("writer", "litestream", "all")
"""What is killed: the process that writes, Litestream, or both and `fx-pipeline replicate` with them."""

CODES = ("GBP", "JPY", "USD")

WRITER = """
import sys
from fx_pipeline_tests.proofs.test_killed_replication import store_days
store_days(sys.argv[1])
"""


def date_of(number: int) -> dt.date:
    return dt.date(1999, 1, 1) + dt.timedelta(days=number)


def rates_of(number: int, *, revised: bool = False) -> dict[str, float]:
    """Return the rates of a day, before or after it is revised."""
    return {"EUR": 1.0} | {code: number + place / 10 + 0.05 * revised + 1 for place, code in enumerate(CODES)}


def transaction(number: int) -> list[Fetch]:
    """Return what transaction `number` stores: a new day, and new values for the day before."""
    revised = [day_of(date_of(number - 1), rates_of(number - 1, revised=True))] if number else []
    return [*revised, day_of(date_of(number), rates_of(number))]


def content(count: int) -> bytes:
    """Return what `dump` returns after the first `count` transactions."""
    numbers = range(count)
    last = count - 1
    parts: list[Sequence[object]] = [
        *([str(date_of(n)), *rate] for n in numbers for rate in rates_of(n, revised=n < last).items()),
        *([str(date_of(n)), "EUR", end_of_day(date_of(n)), len(CODES) + 1] for n in numbers),
        *([str(date_of(n)), *rate] for n in numbers[:-1] for rate in list(rates_of(n).items())[1:]),
        *([code, None, str(date_of(0)), str(date_of(last))] for code in ("EUR", *CODES) if count),
    ]
    return "\n".join(map(json.dumps, parts)).encode()


def store_days(path: str) -> None:
    """Store transaction after transaction until this process is killed. Print the time of each commit."""
    with RateStore(Path(path)) as store:
        number = committed(Path(path))
        while True:
            store.record(transaction(number))
            print(number, time.time(), flush=True)
            number += 1
            time.sleep(0.01)


def committed(path: Path) -> int:
    """Return the number of transactions that are in the file."""
    return int(rows(path, "SELECT count(*) FROM days")[0][0])


class Writer:
    """A process that stores days, and the times of all commits, also of earlier writers."""

    def __init__(self, database: Path) -> None:
        self._log = database.with_name("commits.log")
        before = len(self.times())
        with self._log.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(database)],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
            )
        wait_for(lambda: len(self.times()) > before + 2)

    def times(self) -> dict[int, float]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return {int(number): float(at) for number, at in map(str.split, lines)}

    def kill(self) -> float:
        """Kill it. Return the time."""
        self.process.kill()
        self.process.wait()
        return time.time()


@contextmanager
def writing(database: Path) -> Iterator[Writer]:
    writer = Writer(database)
    try:
        yield writer
    finally:
        writer.kill()


def restored(store: ObjectStore, folder: Path) -> tuple[int, Path]:
    """Restore the replica. Return how many transactions it has, if it is exactly the first of them."""
    target = folder / "restored.db"
    target.unlink(missing_ok=True)
    litestream.restore(store.address("replica/1").of("fx.db"), target)
    assert_consistent(target)
    count = committed(target)
    assert dump(target) == content(count)
    return count, target


def everything(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of each table."""
    names = [name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: rows(path, f"SELECT * FROM {name}") for name in names}  # noqa: S608


def wait_until_stored(replicating: Replicating) -> None:
    """Wait until everything that is committed now is in the replica."""
    at = utc_now() + dt.timedelta(seconds=1)  # the state has whole seconds
    wait_for(replicating.state, lambda state: state and (state.confirmed_at or "") >= at.isoformat())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with running_store(tmp_path / "store") as store:
        for name, value in store.credentials.items():
            monkeypatch.setenv(name, value)
        yield store


@pytest.mark.slow
def test_each_restore_is_a_prefix_of_the_commits(store: ObjectStore, tmp_path: Path) -> None:
    random = seeded_random()
    database = tmp_path / "fx.db"
    RateStore(database).close()
    lost: list[tuple[int, float]] = []
    with ExitStack() as running:
        replicating = running.enter_context(replicated(database, store.url()))
        writer = running.enter_context(writing(database))
        for number in range(ROUNDS):
            kind = KINDS[number % len(KINDS)]
            wait_until_stored(replicating)
            time.sleep(random.uniform(0, 2))
            if kind != "writer":
                replicating.wait_for_litestream().kill()
            if kind == "litestream":
                # What is in the store at this moment, while the writer continues.
                assert restored(store, tmp_path)[0] <= committed(database)
                time.sleep(random.uniform(0, 0.5))
            if kind == "all":
                replicating.process.kill()
                replicating.process.wait()
            killed = writer.kill()
            in_file, times = committed(database), writer.times()
            if kind == "all":
                found, _ = restored(store, tmp_path)
                lost.append((in_file - found, round(killed - times.get(found, killed), 2)))
                replicating = running.enter_context(replicated(database, store.url()))
            # Whatever survived or was started again stores all commits, and a last one that was not yet
            # acknowledged.
            wait_until_stored(replicating)
            found, copy = restored(store, tmp_path)
            assert in_file <= found <= in_file + 1
            assert everything(copy) == everything(database)
            print(f"round {number + 1}: {kind} killed, {found} transactions", flush=True)
            writer = running.enter_context(writing(database))
    print(f"{committed(database)} transactions; lost if all was killed: {lost}")
