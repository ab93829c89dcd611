"""deploy/compose with podman-compose: a run, a backfill while every container is killed, readers, Celery."""

import datetime as dt
from pathlib import Path
from typing import Any

import httpx
import pytest

from fx_pipeline.clock import today
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.deploy.composed import PASSWORD, Composed, composed
from fx_pipeline_tests.deploy.containers import Podman
from fx_pipeline_tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

OWN = ("code-server", "daemon", "webserver", "watch", "api", "nginx", "postgres", "sandbox")
DAGSTER = ("code-server", "daemon", "webserver")
APIS = ("api", "reader-1", "reader-2")
MONITORING = ("prometheus", "alertmanager")
"""Grafana is in no package of Debian."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def days_ago(days: int) -> dt.date:
    return today() - dt.timedelta(days=days)


def stored(running: Composed, first: dt.date, last: dt.date) -> set[str]:
    """Return the dates that the API serves, or none while it cannot answer."""
    try:
        answer = running.get(f"/rates/timeseries?start_date={first}&end_date={last}&symbols=USD")
    except httpx.HTTPError:
        return set()
    return set(answer.json().get("rates", {})) if answer.status_code == 200 else set()


def run_job(running: Composed, date: dt.date) -> str:
    """Run the main job for a date, and return the status of the run at its end."""
    run = running.launch_job(str(date))
    running.wait("daemon", lambda: running.status(run) in ENDED)
    return running.status(run)


def test_all_services_run_backfill_and_recover(
    podman: Podman, images: tuple[str, str], services: str, tmp_path: Path
) -> None:
    with composed(podman, images, services, tmp_path) as running:
        assert running.services() == set(OWN)
        running.wait("webserver", running.is_loaded)
        running.wait_until_healthy()
        for service in OWN:
            assert_confined(running, service)
        assert run_job(running, days_ago(40)) == "SUCCESS"
        assert stored(running, days_ago(40), days_ago(40)) == {str(days_ago(40))}
        assert_cached_only_without_credentials(running, f"/rates/{days_ago(40)}")

        first, last = days_ago(30), days_ago(1)
        backfill = running.launch_backfill(dates_between(str(first), str(last)))
        running.wait("code-server", lambda: stored(running, first, last))
        for service in OWN:
            running.kill(service)
        running.wait("daemon", lambda: running.backfill_status(backfill).startswith(("COMPLETED", "FAILED")))
        assert running.backfill_status(backfill) == "COMPLETED_SUCCESS"
        assert stored(running, first, last) == set(dates_between(str(first), str(last)))
        assert stored(running, days_ago(40), days_ago(40)) == {str(days_ago(40))}
        running.wait_until_healthy()

        running.start("replica", "replicate")
        running.start("readers", "follower-1", "follower-2", "reader-1", "reader-2")
        running.start("monitoring", *MONITORING)
        for service in ("replicate", "follower-1", "follower-2", "reader-1", "reader-2", *MONITORING):
            assert_confined(running, service)
        assert_all_serve(running, days_ago(40))
        assert_spread(running)

        configuration = (running.folder / "dagster-celery.yaml").read_text(encoding="utf-8")
        podman(
            "exec",
            "-i",
            running.container("code-server"),
            "sh",
            "-c",
            "cat >dagster/dagster.yaml",
            stdin=configuration,
        )
        podman("restart", *map(running.container, DAGSTER))
        running.start("celery", "redis", "worker")
        running.wait_until_healthy(DAGSTER)
        running.wait("webserver", running.is_loaded)
        assert run_job(running, days_ago(50)) == "SUCCESS"
        assert_all_serve(running, days_ago(50))
        assert "succeeded" in podman.run("logs", running.container("worker")).stderr
        assert_monitored(running)
        podman("stop", "--time", "60", running.container("worker"))
        assert podman("inspect", running.container("worker"), "--format", "{{.State.ExitCode}}") == "0"


def assert_confined(running: Composed, service: str) -> None:
    """Check that a container has no capability and cannot write to its root file system."""
    inspected = running.podman(
        "inspect", running.container(service), "--format", "{{.State.Pid}} {{.HostConfig.ReadonlyRootfs}}"
    )
    process, read_only = inspected.split()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    assert (status["CapEff"], status["NoNewPrivs"], read_only) == ("0" * 16, "1", "true"), service
    assert "0" not in status["Uid"].split(), service


def directly(url: str, **options: Any) -> httpx.Response:
    """Return the response to a request that passes no proxy of the environment."""
    return httpx.get(url, trust_env=False, timeout=PATIENCE, **options)


def assert_all_serve(running: Composed, date: dt.date) -> None:
    """Check that both readers serve a day as the writer's API does, a moment after it."""
    path = f"/rates/{date}?symbols=USD,GBP,JPY"
    [of_writer, *of_readers] = [f"http://{running.address(service)}:8001{path}" for service in APIS]
    wanted = directly(of_writer)
    assert wanted.status_code == 200
    for service, url in zip(APIS[1:], of_readers, strict=True):
        running.wait(
            service.replace("reader", "follower"),
            lambda url=url: directly(url).content == wanted.content,  # type: ignore[misc]
        )


def assert_spread(running: Composed) -> None:
    """Check that nginx sends requests to all three APIs, and to the readers if the writer's is lost."""
    addresses = {f"{running.address(service)}:8001" for service in APIS}
    answered: set[str] = set()

    def all_answered() -> bool:
        """Send ten requests that nginx does not cache. Return whether each API has answered one so far."""
        assert {running.get("/-/health").status_code for _ in range(10)} == {200}
        lines = running.podman("logs", "--tail", "10", running.container("nginx")).splitlines()
        answered.update(line.split()[-2] for line in lines if '/-/health"' in line)
        return answered >= addresses

    running.wait("nginx", all_answered)
    running.podman("stop", running.container("api"))
    for _ in range(3):
        assert running.get(f"/rates/{days_ago(40)}", apikey="not cached").status_code == 200
    running.podman("start", running.container("api"))
    running.wait_until_healthy(["api"])


def assert_monitored(running: Composed) -> None:
    """Check that Prometheus has the metrics of all three APIs without a token, and reaches Alertmanager."""
    address = f"http://{running.address('prometheus')}:9090/api/v1"

    def asked(path: str, **parameters: str) -> Any:
        return directly(f"{address}/{path}", params=parameters).json()["data"]

    def days() -> dict[str, str]:
        found = asked("query", query='fx_stored_dates and on (instance) up{job="fx-pipeline"} == 1')["result"]
        return {one["metric"]["instance"]: one["value"][1] for one in found}

    running.wait("prometheus", lambda: set(days()) == set(APIS))
    rules = [rule for group in asked("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    [alertmanager] = asked("alertmanagers")["activeAlertmanagers"]
    request = ("wget", "--quiet", "--output-document=-", alertmanager["url"])
    assert running.podman("exec", running.container("prometheus"), *request) == "[]"  # no alert


def assert_cached_only_without_credentials(running: Composed, path: str) -> None:
    """Check by nginx's log which requests its cache answers, within the second in which it may."""

    def log() -> list[str]:
        return running.podman("logs", running.container("nginx")).splitlines()

    for _ in range(3):
        running.get(path)
    public = log()[-3:]
    assert any(line.endswith(" HIT") for line in public), public
    for sent in ({"apikey": "x"}, {"Authorization": "Bearer x"}, {"Cookie": "ds_actor=x"}):
        running.get(path, **sent)
        assert log()[-1].endswith(" BYPASS"), sent
    for query in ("access_key=x", "apikey=x", "access%5Fkey=x"):
        running.get(f"{path}?{query}")
        assert log()[-1].endswith(" BYPASS"), query
    assert running.get("/-/health").headers["cache-control"] == "no-store"
    refused = directly(f"http://127.0.0.1:{running.port}/dagster/")
    assert refused.status_code == 401
    assert PASSWORD not in "".join(log())
    long = directly(f"http://127.0.0.1:{running.port}/", headers={"X-Long": "x" * 40_000})
    assert long.status_code == 400
