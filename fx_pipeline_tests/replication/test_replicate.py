"""`fx-pipeline replicate` with a real Litestream and a real store: faults, alerts, and its end."""

import json
import os
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest

from fx_pipeline.processes.ending import FINAL
from fx_pipeline.replicated import folder_of, read_state
from fx_pipeline.replication import fencing, litestream
from fx_pipeline.store.database import StoreError, open_database
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.inbox import open_inbox
from fx_pipeline_tests.object_store import SECRET, ObjectStore, running_store
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.replication.replicating import Replicating, read, replicating, write
from fx_pipeline_tests.waiting import wait_for


@pytest.fixture
def database(tmp_path: Path) -> Path:
    write(tmp_path / "fx.db", 1)
    return tmp_path / "fx.db"


def test_a_killed_litestream_is_started_again_and_loses_nothing(
    database: Path, store: ObjectStore, tmp_path: Path
) -> None:
    with replicating(database, store.url("killed")) as running:
        before = running.wait_for_position(0)
        first = running.wait_for_litestream()
        first.kill()
        write(database, 2)
        running.wait_for_litestream(other_than=first.pid)
        running.wait_for_position(before)
        write(tmp_path / "tokens.db", 7)  # the first token creates this file
        wait_for(running.state, lambda state: state and state.positions.get("tokens.db"))
        assert running.end() == 0
    assert read_state(database) is None
    for name, values in (("fx.db", [1, 2]), ("tokens.db", [7])):
        litestream.restore(store.address("killed/1").of(name), tmp_path / "restored.db")
        assert read(tmp_path / "restored.db") == values
        (tmp_path / "restored.db").unlink()


def test_a_lost_store_is_reported_and_caught_up_with(
    database: Path, store: ObjectStore, tmp_path: Path
) -> None:
    with running_store(tmp_path / "store") as own:
        with replicating(database, own.url()) as running:
            before = running.wait_for_position(0)
            own.stop()
            write(database, 2)
            fault = running.wait_for_status("failing").problem
            assert fault is not None
            assert "the newest commits have not been in the replica" in fault
            assert "s3://fx/replica" in fault
            running.process.kill()
            running.process.wait()
        text = running.log.read_text()
        with replicating(database, own.url(), FX_LOG_FORMAT="json") as running:
            running.wait_for_status("failing")
            write(database, 3)
            own.start()
            running.wait_for_position(before)
            running.wait_for_status("ok")
            wait_for(lambda: "All commits are in the replica again." in running.log.read_text())
        log = running.log.read_text()
        assert SECRET not in log
        lines = [json.loads(line) for line in log.removeprefix(text).splitlines()]
        assert all({"time", "level", "message"} <= set(line) for line in lines)
        assert "All commits are in the replica again." in [line["message"] for line in lines]
        litestream.restore(own.address("replica/1").of("fx.db"), tmp_path / "restored.db")
    assert read(tmp_path / "restored.db") == [1, 2, 3]


def test_a_litestream_that_hangs_is_killed(database: Path, store: ObjectStore) -> None:
    with replicating(database, store.url("hung")) as running:
        before = running.wait_for_position(0)
        hung = running.wait_for_litestream()
        hung.suspend()
        write(database, 2)
        running.wait_for_status("failing")
        running.wait_for_litestream(other_than=hung.pid)
        running.wait_for_position(before)
        running.wait_for_status("ok")


def test_a_litestream_that_keeps_ending_is_reported(database: Path, store: ObjectStore) -> None:
    with replicating(database, store.url("ends"), ends_within=3600) as running:
        killed = 0
        for _ in range(3):
            process = running.wait_for_litestream(other_than=killed)
            killed = process.pid
            process.kill()
        fault = running.wait_for_status("failing").problem
        assert fault is not None
        assert "has ended 3 times" in fault


def test_the_metrics_are_on_this_machine_only(database: Path, store: ObjectStore) -> None:
    with (
        reserved_port() as port,
        replicating(database, store.url("metrics"), FX_LITESTREAM_PORT=str(port)) as running,
    ):
        running.wait_for_position(0)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert f'litestream_txid{{db="{database}"}}' in answer.read().decode()
        addresses = {
            connection.laddr.ip
            for connection in running.wait_for_litestream().net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}


def test_ends_the_litestream_that_a_killed_process_left(database: Path, store: ObjectStore) -> None:
    first = Replicating(database, store.url("left"))
    first.wait_for_position(0)
    left = first.wait_for_litestream()
    first.process.kill()
    first.process.wait()
    assert left.is_running()
    with replicating(database, store.url("left")) as running:
        running.wait_for_litestream()
        assert not left.is_running()


def test_only_one_runs_for_a_database(database: Path, store: ObjectStore) -> None:
    with replicating(database, store.url("one")) as running:
        running.wait_for_litestream()
        done = run_command(
            database.parent, "replicate", FX_DATABASE=str(database), FX_REPLICA_URL=store.url("one")
        )
    assert done.returncode == 1
    assert done.stderr == f"Error: Another fx-pipeline replicate is using {folder_of(database)}: stop it.\n"


def test_ends_when_another_host_takes_over(database: Path, store: ObjectStore) -> None:
    with open_inbox() as inbox:
        running = Replicating(database, store.url("superseded"), FX_ALERT_URLS=inbox.url)
        running.wait_for_position(0)
        fencing.claim(store.address("superseded"), 2)
        assert running.process.wait(60) == FINAL
        assert "Another host has taken over" in running.log.read_text()
        assert "Another host has taken over" in inbox.received[-1]["message"]
    assert read_state(database) is None
    with pytest.raises(StoreError, match="Another host has taken over"):
        open_database(database)
    assert Replicating(database, store.url("superseded")).process.wait(60) == FINAL


def test_ends_with_0_before_it_has_begun(database: Path, store: ObjectStore) -> None:
    running = Replicating(database, store.url("early"))
    wait_for(running.log.read_text)
    os.kill(running.process.pid, signal.SIGINT)
    assert running.process.wait(60) == 0


def test_needs_an_address(tmp_path: Path) -> None:
    done = run_command(tmp_path, "replicate")
    assert done.returncode == 2
    assert "FX_REPLICA_URL is not set" in done.stderr
