"""The Dagster UI in another process, and the state that it guards."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import requests

from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.settings import PROJECT
from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.command_line import PROGRAM, environment
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import PATIENCE, wait_for

Rows = dict[str, list[tuple[Any, ...]]]


class UI:
    """A webserver over the Dagster home in `folder`: the product's, or Dagster's own without a guard."""

    def __init__(self, folder: Path, port: int, *options: str, guarded: bool = True, **settings: str) -> None:
        self.home = folder / "dagster"
        self.port = str(port)
        self.settings = {
            "DAGSTER_HOME": str(self.home),
            "FX_DATABASE": str(folder / "fx.db"),
            "FX_DAGSTER_PORT": self.port,
            **settings,
        }
        own = [
            "-m",
            "dagster_webserver",
            "-h",
            "127.0.0.1",
            "-p",
            self.port,
            "-w",
            f"{PROJECT / 'workspace.yaml'}",
        ]
        command = [*PROGRAM, "webserver", *options] if guarded else [sys.executable, *own]
        self.log = folder / "log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.home,
                env=environment(**self.settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        """Return whether it responds."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            requests.get(f"{self.url}/server_info", timeout=PATIENCE)
        except requests.ConnectionError:
            return False
        return True

    def state(self) -> Rows:
        """Return every row in Dagster's database: runs, events, partitions, schedules."""
        rows: Rows = {}
        for file in sorted(self.home.rglob("*.db")):
            with closing(sqlite3.connect(file)) as connection:
                tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                for (table,) in tables:
                    name = f"{file.relative_to(self.home)}: {table}"
                    rows[name] = connection.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608
        return rows

    def stop(self) -> None:
        """Stop it, and wait until it and its code server have ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        wait_for(self._is_gone)

    def _is_gone(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


@contextmanager
def serving_ui(folder: Path, *options: str, guarded: bool = True, **settings: str) -> Iterator[UI]:
    """Serve the UI of a new Dagster home with one finished run."""
    with open_instance(folder / "dagster") as instance:
        run = instance.create_run_for_job(defs.resolve_job_def("symbols_job"))
        instance.report_run_canceled(run)
    os.environ.pop("DAGSTER_HOME", None)
    with reserved_port() as port:
        ui = UI(folder, port, *options, guarded=guarded, **settings)
        try:
            wait_for(ui.is_up)
            yield ui
        finally:
            ui.stop()
