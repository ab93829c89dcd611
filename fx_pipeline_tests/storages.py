"""Dagster's storage for a test: files, or a PostgreSQL database of its own."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.postgres_server import PostgresServer, running_postgres

Storage = dict[str, str]
"""The settings that lead to it. None lead to files in Dagster's home."""

STORAGES = ["files", pytest.param("postgres", marks=pytest.mark.slow)]

on_both_storages = pytest.mark.parametrize("storage", STORAGES, indirect=True)
"""Runs a test that uses `storage`, or an instance, with files and with PostgreSQL."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Yield a PostgreSQL server. Skip the test if it is not installed."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def dagster_tables(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a database with Dagster's tables, which take seconds to create."""
    url = postgres.new_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        patch.setenv("FX_DAGSTER_POSTGRES_URL", url)
        open_instance(tmp_path_factory.mktemp("tables")).dispose()
    return url.rpartition("/")[2]


def new_storage(request: pytest.FixtureRequest) -> Storage:
    """Return the storage that a fixture's parameter names: files, unless the test names another."""
    if getattr(request, "param", "files") == "files":
        return {}
    server: PostgresServer = request.getfixturevalue("postgres")
    return {"FX_DAGSTER_POSTGRES_URL": server.new_database(request.getfixturevalue("dagster_tables"))}


@pytest.fixture
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Put Dagster's storage into files or PostgreSQL, for this process. Commands need the settings."""
    settings = new_storage(request)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def instance(tmp_path: Path, storage: Storage) -> Iterator[dg.DagsterInstance]:
    """Yield a Dagster instance with this storage."""
    with open_instance(tmp_path / "dagster") as instance:
        yield instance
