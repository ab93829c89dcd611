"""A reader: what it serves, when it waits, and what it refuses."""

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.api.tokens.mark import read_mark
from fx_pipeline.clock import utc_now
from fx_pipeline.commands.access import Access
from fx_pipeline.commands.cli import main
from fx_pipeline.following import folder_of, read_position, write_position
from fx_pipeline.rates import DayRates
from fx_pipeline.replication import fencing, followed
from fx_pipeline.replication.addresses import require_replica
from fx_pipeline.replication.follower import Follower
from fx_pipeline.replication.litestream import configured
from fx_pipeline.replication.restore import restore
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.child_processes import wait_until_gone, wait_while_running
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.stored import dump
from fx_pipeline_tests.waiting import wait_for

REFUSED = ("ingest", "rebuild", "up", "code-server", "replicate", "token create a", "token off")
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
        files = address.of("1")
        folder_of(settings.fx_database).mkdir(parents=True, exist_ok=True)
        paths = (settings.tokens_database, settings.fx_database)
        config = stack.enter_context(configured({path: files.of(path.name) for path in paths}))
        self.follower = Follower(settings, config, address, 1, self.said.append)
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
    fencing.claim(require_replica(writer.settings), 1)
    address = require_replica(writer.settings).of("1")
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


@pytest.fixture(autouse=True)
def _signals_of_this_process_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("servers", "replicate"):
        monkeypatch.setattr(f"fx_pipeline.commands.{module}.end_on_signals", lambda: None)


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


def test_a_killed_litestream_is_replaced(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "RESTART_SECONDS", 0.1)
    reader.step_until(lambda: reader.has(writer))
    before = {child.pid for child in psutil.Process().children() if reader_of(child, reader)}
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    writer.store_day()
    reader.step_until(lambda: reader.has(writer))
    after = {child.pid for child in psutil.Process().children() if reader_of(child, reader)}
    assert len(after) == len(before)
    assert not after & before


def reader_of(process: psutil.Process, reader: Reader) -> bool:
    try:
        return str(folder_of(reader.settings.fx_database)) in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended
        return False


def test_a_private_file_that_may_hold_half_a_transaction_is_not_copied(
    writer: Writer, reader: Reader
) -> None:
    reader.step_until(lambda: reader.has(writer))
    [shadow] = folder_of(reader.settings.fx_database).glob("following-*/fx.db")
    marked = shadow.with_name("fx.db-txid").stat().st_mtime_ns
    following = reader.follower._rates._shadow
    with following.at_rest() as source:
        assert source is not None
    os.utime(shadow, ns=(marked + 1, marked + 1))
    with following.at_rest() as source:
        assert source is None, "written after the transaction was named"
    os.utime(shadow, ns=(marked, marked))
    with locked_by_another_process(str(shadow)), following.at_rest() as source:
        assert source is None, "Litestream is writing"


@contextmanager
def locked_by_another_process(path: str) -> Iterator[None]:
    """Hold Litestream's lock: one of this process would be its own."""
    code = (
        f"import fcntl, sys; file = open({path!r}, 'r+b'); "
        "fcntl.lockf(file, fcntl.LOCK_EX, 510, 0x40000002); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def test_rates_wait_for_the_tokens_that_they_require(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.step_until(lambda: reader.has(writer))
    database, tokens = reader.settings.fx_database, TokenFile(reader.settings.tokens_database)
    Access(writer.settings).create(f"reader-{database.parent.name}")
    mark = read_mark(writer.settings.fx_database)
    assert mark is not None

    def look() -> bool:
        known = read_mark(database)
        assert tokens.counts()[1] >= (known or 0), "the API would refuse every request"
        return known == mark

    reader.step_until(look)


def test_a_replica_that_goes_back_is_not_followed(writer: Writer, settings: Settings) -> None:
    with ExitStack() as stack:
        reader = Reader(settings, stack)
        reader.step_until(lambda: reader.has(writer))
    known = read_position(settings.fx_database)
    assert known is not None
    write_position(settings.fx_database, replace(known, transaction=known.transaction + 1_000))
    before = dump(settings.fx_database)
    writer.store_day()
    with ExitStack() as stack:
        reader = Reader(settings, stack)
        reader.step_until(lambda: reader.said)
    assert "the replica was replaced by an older one" in reader.said[0]
    assert dump(settings.fx_database) == before


def test_the_command_ends_in_order(writer: Writer, settings: Settings) -> None:
    environment = {
        **os.environ,
        "FX_DATABASE": str(settings.fx_database),
        "FX_REPLICA_URL": writer.url,
    }
    process = subprocess.Popen(COMMAND, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_while_running(process, settings.fx_database.exists)
        second = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
        assert (second.returncode, "Another `fx-pipeline replica` writes" in second.stderr) == (2, True)
        with pytest.raises(StoreError, match="`fx-pipeline replica` is running"):
            restore(lambda folder: None, settings.fx_database, now=utc_now(), force=True)
        process.terminate()
        wait_until_gone(process)
        assert process.returncode == 0
        assert process.stderr is not None
        assert process.stderr.read() == (
            f"Following writer 1 of {require_replica(settings)} into {settings.fx_database}.\n"
        )
        assert not list(folder_of(settings.fx_database).glob("following-*"))
    finally:
        process.kill()
        process.communicate()


def test_nothing_else_writes_to_the_database_of_a_reader(writer: Writer, settings: Settings) -> None:
    with ExitStack() as stack:
        reader = Reader(settings, stack)
        reader.step_until(lambda: reader.has(writer))
    before = dump(settings.fx_database)
    variables = {"FX_DATABASE": str(settings.fx_database), "FX_REPLICA_URL": writer.url}
    refusal = f"{settings.fx_database} follows a replica: only `fx-pipeline replica` writes to it."
    for command in REFUSED:
        done = CliRunner().invoke(main, command.split(), env=variables)
        assert done.exit_code in (1, 2), command
        assert refusal in done.stderr, command
    for command in ("status", "token list"):
        assert CliRunner().invoke(main, command.split(), env=variables).exit_code == 0, command
    assert dump(settings.fx_database) == before


def test_a_writer_does_not_become_a_reader(writer: Writer) -> None:
    variables = {"FX_DATABASE": str(writer.settings.fx_database), "FX_REPLICA_URL": writer.url}
    done = CliRunner().invoke(main, ["replica"], env=variables)
    assert done.exit_code == 2
    assert f"{writer.settings.fx_database} exists and does not follow a replica." in done.stderr
    assert not folder_of(writer.settings.fx_database).exists()


def test_a_damaged_replica_is_not_served(writer: Writer) -> None:
    with closing(sqlite3.connect(":memory:")) as source:
        for table in ("a", "b"):
            source.execute(f"CREATE TABLE {table} (x)")
            source.execute(f"CREATE INDEX {table}_x ON {table} (x)")
        source.execute("INSERT INTO a VALUES (1)")
        followed.require_sound(source, require_replica(writer.settings))
        # What a lost page looks like: an index without the entry of a row.
        source.execute("PRAGMA writable_schema = ON")
        source.execute(
            """
            UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'b_x')
            WHERE name = 'a_x'
            """
        )
        source.commit()
        source.execute("PRAGMA writable_schema = RESET")
        with pytest.raises(StoreError, match=r"is damaged .* so it is not served"):
            followed.require_sound(source, require_replica(writer.settings))
