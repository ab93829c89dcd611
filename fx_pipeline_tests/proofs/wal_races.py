"""Forced races between a writer and checkpoints: `python -m fx_pipeline_tests.proofs.wal_races N [MODULE]`.

They aim at the WAL-reset bug (sqlite.org/wal.html). A checkpoint reads the header of the log. Before it
continues, a writer starts the log again from its beginning. The checkpoint then marks as copied what the log
does not hold yet, and later checkpoints skip it. Usually, less than a microsecond lies between both steps of
the checkpoint. Here it is a millisecond: in between, its connection unmaps a large file.

Prints one JSON document: the version of SQLite, the number of races, how many of the commits fell into the
checkpoint, after how many races a new connection missed a committed value, and the result of integrity_check.
"""

import importlib
import json
import multiprocessing
import random
import sys
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MAPPED_MB = 32
"""Size of the mapped file. To unmap it takes one or two milliseconds."""

SLOTS = 60
"""Rows of the writer, each on a page of its own."""

FILLED = 40
"""Rows that the first transaction of a race changes: more pages than the two after it."""


def race(module: str, path: str, count: int) -> dict[str, Any]:
    """Run `count` races of this process with two others, and return what was found."""
    make_file(module, path)
    (fast, first), (slow, second) = start(module, path, False), start(module, path, True)
    model = [0] * SLOTS
    during = lost = 0
    usual = 0.002
    with closing(connect(module, path)) as writer:
        for number in range(1, count + 1):
            one = number % 10
            slow.send("map")
            slow.recv()
            write(writer, model, number, 0, FILLED)
            # Copies all of the log, so the next transaction may start it again.
            fast.send("checkpoint")
            fast.recv()
            fast.recv()
            slow.send("checkpoint")
            slow.recv()
            time.sleep(random.uniform(0, usual))
            write(writer, model, number, FILLED + one, 1)
            committed = time.monotonic()
            began, ended = slow.recv()
            usual = 0.9 * usual + 0.1 * (ended - began)
            during += began < committed < ended
            write(writer, model, number, FILLED + 10 + one, 1)
            found = values(module, path)
            lost += found != model
            model = found
        [integrity] = writer.execute("PRAGMA integrity_check").fetchone()
    for pipe, process in ((fast, first), (slow, second)):
        pipe.send("end")
        process.join()
    version = importlib.import_module(module).sqlite_version
    return {"version": version, "races": count, "during": during, "lost": lost, "integrity": integrity}


def connect(module: str, path: str) -> Any:
    """Open the file, without waiting for the disk, and without checkpoints of the writer."""
    connection = importlib.import_module(module).connect(path, isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def make_file(module: str, path: str) -> None:
    """Create the file with the rows of the writer, and rows that only make it large."""
    with closing(connect(module, path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE filler (content BLOB)")
        connection.execute("CREATE TABLE slots (id INTEGER PRIMARY KEY, value INTEGER, padding BLOB)")
        connection.execute("BEGIN")
        pages = [[4000]] * (MAPPED_MB << 8)
        connection.executemany("INSERT INTO filler VALUES (zeroblob(?))", pages)
        slots = [[slot] for slot in range(SLOTS)]
        connection.executemany("INSERT INTO slots VALUES (?, 0, zeroblob(3500))", slots)
        connection.execute("COMMIT")


def start(module: str, path: str, mapped: bool) -> tuple[Connection, multiprocessing.process.BaseProcess]:
    """Start a process that makes checkpoints on request. Return the pipe to it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=make_checkpoints, args=(module, path, there, mapped), daemon=True)
    process.start()
    return here, process


def make_checkpoints(module: str, path: str, pipe: Connection, mapped: bool) -> None:
    """Read the whole file, or make a checkpoint and send when it began and ended, whenever the pipe asks."""
    with closing(connect(module, path)) as connection:
        if mapped:
            connection.execute(f"PRAGMA mmap_size = {2 * MAPPED_MB << 20}")
        while (request := pipe.recv()) != "end":
            if request == "map":
                connection.execute("SELECT sum(length(content)) FROM filler").fetchone()
                pipe.send(None)
                continue
            pipe.send(None)
            began = time.monotonic()
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            pipe.send((began, time.monotonic()))


def write(writer: Any, model: list[int], value: int, first: int, count: int) -> None:
    """Store a value in `count` slots in one transaction, and in the model."""
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE slots SET value = ? WHERE id BETWEEN ? AND ?", [value, first, first + count - 1])
    writer.execute("COMMIT")
    model[first : first + count] = [value] * count


def values(module: str, path: str) -> list[int]:
    """Return the values of all slots, read by a new connection, which has cached nothing."""
    with closing(connect(module, path)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM slots ORDER BY id")]


def main() -> None:
    """Run the races in a file in memory, and print the result."""
    count, *names = sys.argv[1:]
    memory = Path("/dev/shm")  # noqa: S108  # the file is in a new folder
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        print(json.dumps(race(names[0] if names else "pysqlite3", f"{folder}/races.db", int(count))))


if __name__ == "__main__":
    main()
