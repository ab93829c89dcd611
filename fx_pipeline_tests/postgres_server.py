"""A PostgreSQL server for the tests, with a password that an address must encode, and a database per test."""

import getpass
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, text

from fx_pipeline.postgres import with_driver
from fx_pipeline_tests.ports import reserved_port

PASSWORD = "s3cret @:/?#[]% ü+'\""
MEMORY = Path("/dev/shm")  # noqa: S108  # TemporaryDirectory makes an unguessable folder in it


@dataclass(frozen=True)
class PostgresServer:
    """A running server."""

    port: int
    user: str
    start: Callable[[], None]
    stop: Callable[[], None]
    """Ends it immediately, as a crash does."""

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://{self.user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """Create an empty database, or a copy of another one. Return its address."""
        name = f"dagster_{secrets.token_hex(4)}"
        engine = create_engine(with_driver(self.url("postgres")), isolation_level="AUTOCOMMIT")
        with closing(engine.connect()) as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        engine.dispose()
        return self.url(name)


def _programs() -> Path | None:
    """Return the folder with the newest server's programs."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    # Debian's package puts them into no folder of PATH.
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, default=None, key=lambda folder: float(folder.parent.name))


def _account() -> str:
    """Return the user to run it as. It refuses to run as root."""
    if os.getuid() != 0:
        return getpass.getuser()
    return "postgres"  # Debian's package creates it


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a server. Skip the test if it is not installed."""
    programs, account = _programs(), _account()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql` lets these tests run")
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name, reserved_port() as port:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        for path in (folder, folder / "password"):
            shutil.chown(path, account)

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [str(programs / program), "--pgdata", str(folder / "data"), *arguments],
                user=account if os.getuid() == 0 else None,
                group=pwd.getpwnam(account).pw_gid if os.getuid() == 0 else None,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
            assert done.returncode == 0, (folder / "log").read_text()

        with (folder / "log").open("ab") as log:
            run("initdb", "--auth=scram-sha-256", "--pwfile=password", "--username=dagster", "--no-sync")
            options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
            fast = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"

            def start() -> None:
                # The server is no child of this process, so tests do not take it for one that they left.
                run("pg_ctl", "--wait", "--options", f"{options} {fast}", "start")

            def stop() -> None:
                run("pg_ctl", "--wait", "--mode=immediate", "stop")

            start()
            try:
                yield PostgresServer(port, "dagster", start, stop)
            finally:
                stop()
