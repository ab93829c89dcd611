"""The series of real scrapes: of an API next to every file that it reads, and of Litestream."""

import datetime as dt
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns

import httpx
import pytest

from fx_pipeline.dagster_numbers import DagsterNumbers, LastRun, replace_numbers
from fx_pipeline.drilled import DrillState, write_drill
from fx_pipeline.following import Position, folder_of, write_position
from fx_pipeline.replicated import ReplicationState, write_state
from fx_pipeline.replicated import folder_of as replication_folder
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.litestream import configuration, environment, program, write_configuration
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.api.conftest import OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for

FOLDER = PROJECT / "deploy" / "monitoring"

Series = Mapping[str, str]
"""Values by series, as in a scrape, with the labels that Prometheus adds."""

TARGET = 'job="fx-pipeline",instance="api:8004"'

FROM_PROMETHEUS: Series = {
    f"up{{{TARGET}}}": "1",
    f'ALERTS{{{TARGET},alertname="FxDown",alertstate="firing"}}': "1",
}


def write_states(database: Path) -> None:
    """Write every file next to a database that metrics are read from."""
    numbers = DagsterNumbers(
        at=1000,
        heartbeats={"scheduler": 990},
        queued=1,
        in_progress=1,
        failed=1,
        backfills=1,
        last_runs=[
            LastRun(job="rates", outcome="success", ended=900, seconds=10),
            LastRun(job="rates", outcome="failure", ended=800, seconds=10),
        ],
        checks={"gaps": "error", "jump": "warn", "clock": "passed"},
    )
    replace_numbers(database, numbers)
    write_drill(
        database,
        DrillState(at="2026-03-10T02:00:00+00:00", result="good", good_at="2026-03-10T02:00:00+00:00"),
    )
    replication_folder(database).mkdir()
    write_state(
        database, ReplicationState("2026-03-10T12:00:00+00:00", "2026-03-10T12:00:00+00:00", {"fx.db": 7})
    )
    folder_of(database).mkdir()
    now = dt.datetime(2026, 3, 10, 12, tzinfo=dt.timezone.utc)
    write_position(database, Position("file:///replica", 1, 7, now))


@pytest.fixture
async def of_api(history: History, open_api: OpenApi, token: str) -> Series:
    """Return all series of the API, each with the labels of its target."""
    write_states(history.path)
    api = open_api(history.path, fx_cache_mb=1, fixer_monthly_quota=100)
    for _ in range(2):
        await api.get("/rates/latest?symbols=USD", apikey=token)
    counters = api.datasette.counters
    for status, cache in ((500, "bypass"), (200, "hit"), (200, "miss")):
        counters.add(counters.record("latest_rates", status, cache), perf_counter_ns(), 10)
    document = (await api.get("/-/metrics", apikey=token)).text
    assert not re.search(r'[{,](job|instance)="', document), "Prometheus would rename this label"
    return series_of(document)


def series_of(document: str) -> Series:
    """Return the series of a scrape."""
    found = re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", document, re.MULTILINE)
    return {f"{name}{{{','.join(filter(None, (labels, TARGET)))}}}": value for name, labels, value in found}


def labels_of(series: Iterable[str]) -> dict[str, set[str]]:
    """Return the names of the labels of each metric."""
    found: dict[str, set[str]] = {}
    for one in series:
        name, _, labels = one.partition("{")
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


@pytest.fixture
def of_litestream(history: History, tmp_path: Path) -> Iterator[Series]:
    """Return all series of Litestream, while it replicates a database into a folder."""
    file = tmp_path / "litestream.yml"
    replica = ReplicaAddress.parse(f"file://{tmp_path}/replica")
    with reserved_port() as port:
        document, variables = configuration({history.path: replica}, addr=f"127.0.0.1:{port}")
        write_configuration(file, document)

        def scraped() -> str:
            with suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
            return ""

        command = [str(program()), "replicate", "-config", str(file)]
        with subprocess.Popen(
            command, env=environment(variables), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as process:
            try:
                found = wait_for(scraped, lambda text: "litestream_txid{" in text, pause=0.1)
            finally:
                process.terminate()
    yield {one: value for one, value in series_of(found).items() if one.startswith("litestream_")}
