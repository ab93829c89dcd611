"""A reader: what it serves, when it waits, and what it refuses."""

import datetime as dt
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.following import folder_of, read_position
from fx_pipeline.rates import DayRates
from fx_pipeline.replication.addresses import require_replica
from fx_pipeline.replication.follower import Follower
from fx_pipeline.replication.litestream import configured
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.stored import dump
from fx_pipeline_tests.waiting import wait_for

COMMAND = [sys.executable, "-m", "fx_pipeline", "replica"]


class Writer:
    """The database of a writer, which a Litestream replicates into a folder."""

    def __init__(self, folder: Path) -> None:
        self.url = f"file://{folder / 'replica'}"
        self.settings = Settings(fx_database=folder / "writer" / "fx.db", fx_replica_url=self.url)
        self.days = 0
        self.store_day()

    def store_day(self, rate: float = 1.1) -> None:
        day = dt.date(2020, 1, 1) + dt.timedelta(self.days)
        self.days += 1
        self._store(day, rate)

    def revise(self, rate: float) -> None:
        """Replace a value in place, which changes neither the size of the file nor its first page."""
        self._store(dt.date(2020, 1, 1), rate)

    def _store(self, day: dt.date, rate: float) -> None:
        rates = {"USD": rate, "GBP": 0.8}
        with RateStore(self.settings.fx_database) as store:
            store.record([fetch_of(DayRates(date=day, base="EUR", timestamp=1, rates=rates))])


class Reader:
    """A reader in this process, whose steps the test makes."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self.settings = settings
        self.said: list[str] = []
        address = require_replica(settings)
        folder_of(settings.fx_database).mkdir(parents=True, exist_ok=True)
        paths = (settings.tokens_database, settings.fx_database)
        config = stack.enter_context(configured({path: address.of(path.name) for path in paths}))
        self.follower = Follower(settings, config, address, self.said.append)
        stack.callback(self.follower.close)

    def step_until(self, condition: Callable[[], object]) -> None:
        def look() -> object:
            self.follower.step()
            return condition()

        wait_for(look)

    def has(self, writer: Writer) -> bool:
        database = self.settings.fx_database
        return database.exists() and dump(database) == dump(writer.settings.fx_database)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    writer = Writer(tmp_path_factory.mktemp("writer"))
    address = require_replica(writer.settings)
    paths = (writer.settings.tokens_database, writer.settings.fx_database)
    TokenFile(writer.settings.tokens_database).make()
    with configured({path: address.of(path.name) for path in paths}) as config:
        process = subprocess.Popen(
            config.command("replicate"),
            env=config.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        try:
            yield writer
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def settings(writer: Writer, tmp_path: Path) -> Settings:
    return Settings(fx_database=tmp_path / "fx.db", fx_replica_url=writer.url)


@pytest.fixture
def reader(settings: Settings) -> Iterator[Reader]:
    with ExitStack() as stack:
        yield Reader(settings, stack)


def test_an_open_connection_sees_every_commit_of_the_writer(writer: Writer, reader: Reader) -> None:
    reader.step_until(lambda: reader.has(writer))
    with closing(sqlite3.connect(reader.settings.fx_database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.revise(1.25)
        reader.step_until(lambda: reader.has(writer))
        query = "SELECT rate FROM rates WHERE date = '2020-01-01' AND currency = 'USD'"
        assert connection.execute(query).fetchone() == (1.25,)
        writer.store_day()
        reader.step_until(lambda: reader.has(writer))
        assert connection.execute("SELECT count(*) FROM days").fetchone() == (writer.days,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    known = read_position(reader.settings.fx_database)
    assert known is not None
    assert known.transaction > 0
