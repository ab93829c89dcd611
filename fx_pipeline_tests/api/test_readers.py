"""What the API of a reader reports about its replica."""

import datetime as dt
from pathlib import Path

import pytest

from fx_pipeline.clock import utc_now
from fx_pipeline.following import Position, folder_of, write_position
from fx_pipeline.store.database import open_database
from fx_pipeline_tests.served import served


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "fx.db"
    open_database(path).close()
    return path


@pytest.mark.asyncio
async def test_a_writer_is_ready_and_reports_no_replica(database: Path) -> None:
    async with served(database) as client:
        ready = await client.get("/-/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert "reader" not in (await client.get("/-/health")).json()


@pytest.mark.asyncio
@pytest.mark.parametrize(("age", "status"), [(None, "lagging"), (5, "ready"), (50, "ready"), (70, "lagging")])
async def test_a_reader_reports_its_position_and_lag(database: Path, age: int | None, status: str) -> None:
    folder_of(database).mkdir()
    current = None if age is None else utc_now() - dt.timedelta(seconds=age)
    write_position(database, Position("s3://fx/secret-place", 2, 7, current))
    async with served(database) as client:
        health = await client.get("/-/health")
        ready = await client.get("/-/health/ready")
    assert health.status_code == 200, "a restart would not help"
    replica = health.json()["reader"]
    assert (replica["generation"], replica["transaction"], replica["max_lag_seconds"]) == (2, 7, 60)
    assert replica["lag_seconds"] == (None if age is None else pytest.approx(age, abs=5))
    assert ready.status_code == (200 if status == "ready" else 503)
    assert ready.json()["status"] == status
    assert "secret-place" not in health.text + ready.text


@pytest.mark.asyncio
async def test_a_reader_with_a_damaged_position_is_not_ready(database: Path) -> None:
    folder_of(database).mkdir()
    (folder_of(database) / "position.json").write_text("{", encoding="utf-8")
    async with served(database) as client:
        assert (await client.get("/-/health")).status_code == 200
        assert (await client.get("/-/health/ready")).status_code == 503
