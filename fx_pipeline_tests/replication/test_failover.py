"""Failover by the runbook, docs/operations/failover.md: two folders are two hosts. Prints the seconds."""

import datetime as dt
import json
import os
import signal
import time
import urllib.request
from pathlib import Path
from threading import Event, Thread

import pytest

from fx_pipeline.processes.ending import FINAL
from fx_pipeline.rates import date_range
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.sources import fetch_replica
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.command_line import run_command, start_command
from fx_pipeline_tests.fixer_days import day_of
from fx_pipeline_tests.object_store import ObjectStore
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.replication.replicating import Replicating, replicating
from fx_pipeline_tests.replication.test_past_instants import when_replicated
from fx_pipeline_tests.seeds import seeded_random
from fx_pipeline_tests.stored import assert_consistent, dump, rows
from fx_pipeline_tests.waiting import wait_for

NEXT = dt.date(2025, 1, 1)
FETCHES = "SELECT id, start_date, asked_at FROM fetches ORDER BY id"


def keep_storing(database: Path, stop: Event) -> None:
    """Store one day after the other, each in a transaction of its own."""
    with RateStore(database) as store:
        for number, day in enumerate(date_range(dt.date(2024, 1, 1), dt.date(2024, 12, 31))):
            store.record([day_of(day, {"USD": 1 + number / 1000, "GBP": 0.8})])
            if stop.wait(0.02):
                return


def latest(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/rates/latest", timeout=5) as response:
            return str(json.load(response)["date"])
    except OSError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["file", "s3"])
def test_another_host_takes_over_from_a_killed_writer(
    scheme: str, store: ObjectStore, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/replica" if scheme == "file" else store.url("failover")
    old, new = (tmp_path / name / "fx.db" for name in ("old", "new"))
    for database in (old, new):
        database.parent.mkdir()
    stop = Event()
    storing = Thread(target=keep_storing, args=(old, stop))
    storing.start()
    running = Replicating(old, url)
    try:
        when_replicated(running)
        time.sleep(seeded_random().uniform(0, 2))
        for pid in (running.wait_for_litestream().pid, running.process.pid):
            os.kill(pid, signal.SIGKILL)
        running.process.wait()
    finally:
        stop.set()
        storing.join()

    settings = {"FX_DATABASE": str(new), "FX_REPLICA_URL": url}
    began = time.monotonic()
    done = run_command(new.parent, "restore", "--take-over", **settings)
    assert done.returncode == 0, done.stderr
    with (
        reserved_port() as port,
        replicating(new, url) as running,
        start_command(new.parent, "serve", "--port", str(port), **settings) as serving,
    ):
        newest = wait_for(lambda: latest(port))
        when_replicated(running)
        print(f"Failover over {scheme}: {time.monotonic() - began:.1f} s")
        restored, known = rows(new, FETCHES), rows(old, FETCHES)
        assert restored == known[: len(restored)]
        assert newest == restored[-1][1]
        assert_consistent(new)

        with RateStore(new) as writer:
            writer.record([day_of(NEXT, {"USD": 1.5})])
        when_replicated(running)
        assert Replicating(old, url).process.wait(60) == FINAL
        with pytest.raises(StoreError, match="Another host has taken over"), RateStore(old):
            pass
        serving.terminate()
        wait_until_gone(serving)
    (tmp_path / "copy").mkdir()
    fetched = fetch_replica(ReplicaAddress.parse(url), "fx.db", tmp_path / "copy")
    assert fetched.generation == 2
    assert dump(tmp_path / "copy" / "fx.db") == dump(new)
