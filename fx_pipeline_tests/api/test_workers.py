"""Several workers: all answer alike after a change, one may crash, and all stop cleanly."""

import http.client
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import open_database
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import ask, one_connection_each, rate_in, serving
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow

LATEST = "/rates/2026-03-09?symbols=USD"


def test_every_worker_sees_a_commit_immediately(history: History, tmp_path: Path) -> None:
    with (
        serving(history.path, tmp_path / "log", workers=2) as server,
        one_connection_each(server, 2) as workers,
    ):
        for minute in range(30):
            new = 1.2 + minute / 100
            history.fetch(f"2026-03-10T10:{minute:02}:00.000000Z", {"2026-03-09": {"USD": new}})
            # Twice, because the second response of a worker may be cached.
            for connection in (*workers.values(), *workers.values()):
                assert rate_in(ask(connection, LATEST)) == new


def test_every_worker_sees_a_change_of_tokens_immediately(history: History, tmp_path: Path) -> None:
    tokens = TokenFile(history.path.with_name("tokens.db"))
    with (
        serving(history.path, tmp_path / "log", workers=2) as server,
        one_connection_each(server, 2) as workers,
    ):

        def statuses(**headers: str) -> set[int]:
            return {ask(connection, LATEST, headers)[0] for connection in workers.values()}

        for _ in range(10):
            assert statuses() == {200}
            first, second = tokens.create("first"), tokens.create("second")
            assert statuses() == {401}
            assert statuses(apikey=first) == statuses(apikey=second) == {200}
            tokens.revoke("first")
            assert (statuses(apikey=first), statuses(apikey=second)) == ({401}, {200})
            tokens.revoke("second")
            assert statuses(apikey=second) == statuses() == {401}
            tokens.forget_all()
        assert statuses() == {200}


def test_every_worker_accepts_the_cookie_of_another(history: History, tmp_path: Path) -> None:
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    with (
        serving(history.path, tmp_path / "log", workers=2) as server,
        one_connection_each(server, 2) as workers,
    ):
        first, second = workers.values()
        cookie = cookie_for(token, first)
        for connection in (first, second):
            assert ask(connection, "/fx/rates.json", {"Cookie": cookie})[0] == 200


def cookie_for(token: str, connection: http.client.HTTPConnection) -> str:
    """Log in and return the cookie."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/-/login", f"token={token}", form)
    response = connection.getresponse()
    response.read()
    return (response.getheader("Set-Cookie") or "").partition(";")[0]


@pytest.mark.parametrize("secret", ["s3cret", '"s3cret"'])
def test_a_login_outlives_the_server_if_a_file_sets_the_secret(
    history: History, tmp_path: Path, secret: str
) -> None:
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    (tmp_path / ".env").write_text(f"DATASETTE_SECRET={secret}\n")
    with serving(history.path, tmp_path / "log") as server, closing(server.connect()) as connection:
        cookie = cookie_for(token, connection)
    with serving(history.path, tmp_path / "log") as server:
        assert server.get("/fx/rates.json", {"Cookie": cookie})[0] == 200


def test_counts_the_requests_of_all_workers(history: History, tmp_path: Path) -> None:
    tokens = TokenFile(history.path.with_name("tokens.db"))
    token = tokens.create("reports")
    with serving(history.path, tmp_path / "log", workers=2) as server:
        with one_connection_each(server, 2) as workers:
            for connection in workers.values():
                for _ in range(5):
                    assert ask(connection, LATEST, {"apikey": token})[0] == 200
        assert server.stop() == 0
    assert [record.requests for record in tokens.records()] == [10]


def test_no_request_fails_after_a_worker_is_killed(history: History, tmp_path: Path) -> None:
    with serving(history.path, tmp_path / "log", workers=2) as server:
        for crash in (1, 2):
            alive = {pid for pid in server.wait_for_workers(1 + crash) if is_alive(pid)}
            os.kill(min(alive), signal.SIGKILL)
            # The other worker answers immediately.
            assert {server.get(LATEST)[0] for _ in range(30)} == {200}
            history.fetch(f"2026-03-10T11:0{crash}:00.000000Z", {"2026-03-09": {"USD": 2 + crash / 10}})
            assert {rate_in(server.get(LATEST)) for _ in range(10)} == {2 + crash / 10}
            assert server.process.poll() is None
        ever = server.wait_for_workers(4)
        assert server.stop() == 0
    assert [pid for pid in ever if is_alive(pid)] == []


def is_alive(pid: int) -> bool:
    """Return whether the process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_when_their_supervisor_is_killed(history: History, tmp_path: Path) -> None:
    with serving(history.path, tmp_path / "log", workers=2) as server:
        workers = server.wait_for_workers(2)
        server.process.kill()
        # The next server can have the port.
        wait_for(lambda: is_free(server.port))
        ends = [f"Finished server process [{worker}]" for worker in workers]
        wait_for(lambda: all(end in server.log.read_text() for end in ends))


def is_free(port: int) -> bool:
    """Return whether the port is free."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_finishes_open_requests(
    history: History, tmp_path: Path, workers: int, signum: signal.Signals
) -> None:
    codes = [f"{first}{second}X" for first in "ABCDE" for second in "ABCDE"]
    days = {
        f"2010-{month:02}-{day:02}": dict.fromkeys(codes, 1.5)
        for month in range(1, 13)
        for day in range(1, 29)
    }
    history.fetch("2026-03-10T11:00:00.000000Z", days)
    with serving(history.path, tmp_path / "log", workers=workers) as server:
        processes = server.wait_for_workers(workers)
        whole = server.get("/rates/2010-01-01..2010-12-31")[1]
        with socket.socket() as slow, socket.create_connection(("127.0.0.1", server.port)) as idle:
            # Too small for the response, which waits in the server until the client reads it.
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(b"GET /rates/2010-01-01..2010-12-31 HTTP/1.1\r\nHost: x\r\n\r\n")
            received = slow.recv(100)
            server.process.send_signal(signum)
            wait_for(lambda: refuses(server.port))
            received += b"".join(iter(lambda: slow.recv(65536), b""))
            assert idle.recv(1) == b""
        code = server.process.wait(PATIENCE)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\n" + whole)
    assert "Traceback" not in server.log.read_text()
    # As in uvicorn, a single process ends by the signal, and a supervisor with exit code 0.
    assert code in ({0, -signum} if workers == 1 else {0})
    assert [pid for pid in processes if is_alive(pid)] == []


def refuses(port: int) -> bool:
    """Return whether the port refuses connections."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False


def test_ctrl_c_in_a_terminal_stops_all(history: History, tmp_path: Path) -> None:
    """The terminal sends the signal to every process."""
    with serving(history.path, tmp_path / "log", workers=2) as server:
        processes = server.wait_for_workers(2)
        for pid in (*processes, server.process.pid):
            os.kill(pid, signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
    assert [pid for pid in processes if is_alive(pid)] == []
    assert "Traceback" not in server.log.read_text()


def test_a_second_server_on_the_same_port_fails(history: History, tmp_path: Path) -> None:
    with serving(history.path, tmp_path / "log") as server:
        done = run_command(
            history.path.parent, "serve", "--port", str(server.port), FX_DATABASE=str(history.path)
        )
        assert (done.returncode, done.stdout, done.stderr) == (
            2,
            "",
            f"Error: The API cannot listen on 127.0.0.1:{server.port}: Address already in use. "
            "Set --port or FX_API_PORT to a free port.\n",
        )
        assert server.get(LATEST)[0] == 200


def test_a_public_server_without_tokens_logs_a_warning(history: History, tmp_path: Path) -> None:
    said = (
        "Anyone who can reach 0.0.0.0 can read the rates. To require a token, use `fx-pipeline token create` "
        "or FX_REQUIRE_TOKEN=1.\n"
    )
    with serving(history.path, tmp_path / "log", "--host", "0.0.0.0") as server:  # noqa: S104
        assert said in server.log.read_text()
    TokenFile(history.path.with_name("tokens.db")).create("reports")
    with serving(history.path, tmp_path / "log", "--host", "0.0.0.0") as server:  # noqa: S104
        assert said not in server.log.read_text()


def not_a_database(folder: Path) -> None:
    (folder / "fx.db").write_text("date,rate\n" * 1000)


def another_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "fx.db")) as connection:
        connection.execute("CREATE TABLE rates (a)")
        connection.commit()


def test_the_server_does_not_load_pandas(history: History, tmp_path: Path) -> None:
    with serving(history.path, tmp_path / "log") as server:
        assert server.get(LATEST)[0] == 200
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    named = f"Database {history.path}, tokens {history.path.with_name('tokens.db')}."
    assert named in (tmp_path / "log").read_text()
    assert "/sqlite3/" in loaded or "_sqlite3" in loaded
    assert "/pandas/" not in loaded


def a_database(folder: Path) -> None:
    open_database(folder / "fx.db").close()


def broken_tokens(folder: Path) -> None:
    a_database(folder)
    (folder / "tokens.db").write_bytes(b"x" * 4096)


def a_file_for_a_folder(folder: Path) -> None:
    (folder / "data").write_text("")


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "options", "settings", "code", "said"),
    [
        (not_a_database, [], {}, 1, "fx.db"),
        (another_database, [], {}, 1, "fx.db"),
        (broken_tokens, [], {}, 2, "tokens.db cannot be used: file is not a database."),
        (a_file_for_a_folder, [], {"FX_DATABASE": "data/fx.db"}, 2, "There is no database at /"),
        (nothing, [], {}, 2, "There is no database at /"),
        (
            nothing,
            [],
            {"FX_DATABASE": "a?b.db"},
            2,
            "FX_DATABASE cannot be used: Dagster cannot open",
        ),
        (
            nothing,
            [],
            {"FX_DATABASE": "tokens.db"},
            2,
            "FX_DATABASE cannot be used: tokens.db is reserved for",
        ),
        (
            a_database,
            [],
            {"SENTRY_DSN": "https://secret@x"},
            2,
            "SENTRY_DSN cannot be used: it must have the form",
        ),
        (nothing, [], {"FX_API_PORT": "0"}, 2, "FX_API_PORT cannot be used: "),
        (a_database, ["--host", "nowhere.invalid"], {}, 2, "The API cannot listen on nowhere.invalid:"),
        (a_database, ["--host", "192.0.2.1"], {}, 2, "The API cannot listen on 192.0.2.1:"),
    ],
)
def test_a_failed_start_prints_one_line(
    tmp_path: Path,
    prepare: Callable[[Path], None],
    options: list[str],
    settings: dict[str, str],
    code: int,
    said: str,
) -> None:
    prepare(tmp_path)
    with reserved_port() as port:
        on_port = [] if "FX_API_PORT" in settings else ["--port", str(port)]
        done = run_command(tmp_path, "serve", *options, *on_port, **{"FX_DATABASE": "fx.db", **settings})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert "secret" not in done.stderr


def test_answers_under_a_small_limit_of_open_files(history: History, tmp_path: Path) -> None:
    """There are more unfinished requests than the process may have open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        server_context = serving(history.path, tmp_path / "log")
        server = server_context.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    connections = []
    try:
        for _ in range(400):
            connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            connections[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        assert server.get("/-/health")[0] == 200
        assert server.get("/rates/latest")[0] == 200
        assert "too many connections (192)" in server.log.read_text()
        assert server.raw(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a=b; " * 400_000).startswith(
            b"HTTP/1.1 431 "
        )
    finally:
        for connection in connections:
            connection.close()
        server_context.__exit__(None, None, None)
    assert "Traceback" not in server.log.read_text()
