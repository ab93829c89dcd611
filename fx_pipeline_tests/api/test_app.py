"""The server: its imports, its checks before the start, and its responses over a socket."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.app import create_app
from fx_pipeline.api.reading.served import ServeError, check_database
from fx_pipeline.api.server import serve
from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import serving


def test_the_api_loads_neither_the_pipeline_nor_pandas(history: History) -> None:
    """The API is small, starts fast, and can be deployed without the pipeline."""
    program = """
import sys
from fx_pipeline.api.app import create_app
create_app()
heavy = ("dagster", "pandas", "sqlalchemy", "sqlite_utils", "requests", "apprise", "mcp")
own = ("fx_pipeline.store", "fx_pipeline.fixer", "fx_pipeline.defs", "fx_pipeline.ingestion")
print([name for name in sys.modules if name.split(".")[0] in heavy or name.startswith(own)])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FX_DATABASE": str(history.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def nothing_there(path: Path) -> None:
    """Create no file."""


def no_database(path: Path) -> None:
    """Create a file that is not a database."""
    path.write_text("date,rate\n" * 1000)


def another_database(path: Path) -> None:
    """Create a database of another program."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rates (a)")
        connection.commit()


UNUSABLE = [
    (
        nothing_there,
        "fx.db",
        "There is no database at {}. `fx-pipeline ingest` creates it, or set FX_DATABASE.",
    ),
    (
        no_database,
        "fx.db",
        "{} cannot be read as a database: file is not a database. Set FX_DATABASE to another file.",
    ),
    (
        another_database,
        "fx.db",
        "{} is a database, but not one of fx-pipeline: it has no table days, fetches, revisions, symbols. "
        "Set FX_DATABASE to another file.",
    ),
]


@pytest.mark.parametrize(("make", "name", "message"), UNUSABLE)
def test_does_not_start_without_a_valid_database(
    make: Callable[[Path], None], name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(ServeError, match=f"^{re.escape(message.format(path))}$"):
        check_database(path)
    monkeypatch.setenv("FX_DATABASE", str(path))
    with pytest.raises(ServeError):
        serve("127.0.0.1", 0)
    with pytest.raises(SystemExit, match=f"^{re.escape('fx-pipeline: ' + message.format(path))}$"):
        create_app()


def test_does_not_start_with_an_invalid_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FX_MAX_AGE_DAYS", "0")
    with pytest.raises(SystemExit, match=r"^fx-pipeline: FX_MAX_AGE_DAYS cannot be used: "):
        create_app()


def test_does_not_start_on_a_port_in_use(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FX_DATABASE", str(history.path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ServeError,
            match=rf"^The API cannot listen on 127\.0\.0\.1:{port}: .*\. "
            r"Set --port or FX_API_PORT to a free port\.$",
        ):
            serve("127.0.0.1", port)


def test_serves_over_a_socket(history: History, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(history.path, log) as server:
        status, body = server.get("/rates/2000-01-03/?symbols=USD,GBP&access_key=hidden")
        assert (status, json.loads(body)) == (
            200,
            {
                "success": True,
                "timestamp": 946943999,
                "historical": True,
                "base": "EUR",
                "date": "2000-01-03",
                "rates": {"USD": 1.020124, "GBP": 0.627016},
            },
        )
        history.fetch("2026-03-10T11:00:00.000000Z", {"2000-01-03": {"USD": 1.5}})
        assert json.loads(server.get("/rates/2000-01-03?symbols=USD")[1])["rates"] == {"USD": 1.5}

        end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        for target, status in [
            (b"/-/static/../../app.py", 403),
            (b"/../../../etc/passwd", 404),
            (b"/rates/../../etc/passwd", 404),
            (b"/rates/%00", 404),
            (b"/rates/latest?base=%00", 400),
            (b"/rates/latest?symbols=" + b",".join([b"USD"] * 10_000), 414),
            (b"/rates/latest?base=" + b"A" * 100_000, 414),
            (b"/rates/latest?" + b"&".join([b"a=1"] * 25_000), 414),
            (b"/-/plugins", 403),
            (b"//-/plugins", 404),
            (b"/%2D/plugins", 302),
        ]:
            answer = server.raw(b"GET " + target + end)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (target[:40], answer[:60])
        assert server.raw(b"POST /fx/rates" + end).startswith(b"HTTP/1.1 405 ")
        assert server.raw(b"HEAD /rates/latest" + end).endswith(b"\r\n\r\n")
        assert server.get("/rates/latest")[0] == 200
    # A clean shutdown.
    assert "Application shutdown complete" in log.read_text()
    assert server.process.returncode == 0
    assert "hidden" not in log.read_text()
    assert "Traceback" not in log.read_text()
