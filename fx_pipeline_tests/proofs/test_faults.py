"""A third of all answers is bad, in every way that asking again betters: in the end it makes no odds."""

import datetime as dt
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.defs.partitions import days
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline.defs.sensors import alerts
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.rates import date_range
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.defs.rates_run import QUIET
from fx_pipeline_tests.proofs.content import broken, dump, stored_dates
from fx_pipeline_tests.proofs.secrets import ALERTS, KEY, Secrets
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

FIRST, LAST = dt.date(2022, 12, 1), dt.date(2024, 1, 4)
DATES = [str(date) for date in date_range(FIRST, LAST)]
RATES = dg.AssetKey("rates")
FAULTS = {"transient": 0.3, "wrong-base": 0.03, "mislabelled-base": 0.03}


@dataclass(frozen=True, kw_only=True)
class Hasty(FixerResource):
    """Fixer, asked by a client that waits for nothing long."""

    retries: int

    def client(self) -> FixerClient:
        return FixerClient(self.base_url, KEY, timeout=(5.0, 3.0), retries=self.retries, backoff=0.01)


def run(
    instance: dg.DagsterInstance, sandbox: Sandbox, database: Path, *, retries: int, missing: bool = False
) -> dg.ExecuteInProcessResult:
    config = rates_config(skip_stored=missing).to_config_dict()  # type: ignore[no-untyped-call]
    return defs.resolve_job_def("rates_job").execute_in_process(
        instance=instance,
        tags=range_tags(DATES[0], DATES[-1]),
        run_config={**config, **QUIET},
        raise_on_error=False,
        resources={
            "fixer": Hasty(base_url=sandbox.url, base="EUR", symbols=[], concurrency=8, retries=retries),
            "database": DatabaseResource(path=str(database)),
        },
    )


def asked(sandbox: Sandbox) -> Counter[str]:
    """How often each date was asked for."""
    questions = ((question.partition(" ")[2], times) for question, times in sandbox.state.asked.items())
    return Counter({json.loads(parameters)["date"]: times for parameters, times in questions})


def failed(instance: dg.DagsterInstance) -> set[str]:
    """The dates that the UI shows as failed; all others are shown as materialised."""
    shown = instance.get_status_by_partition(RATES, DATES, days)
    assert shown is not None
    assert set(shown.values()) <= {dg.AssetPartitionStatus.MATERIALIZED, dg.AssetPartitionStatus.FAILED}
    return {date for date, status in shown.items() if status is dg.AssetPartitionStatus.FAILED}


def named(result: dg.ExecuteInProcessResult) -> set[str]:
    """The dates that the failure of a run names."""
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    spans = [
        span.split(" to ")
        for dates in failure.user_failure_data.metadata.values()
        if isinstance(dates, dg.TextMetadataValue)
        for span in str(dates.value).split(", ")
    ]
    return {
        str(date)
        for span in spans
        for date in date_range(dt.date.fromisoformat(span[0]), dt.date.fromisoformat(span[-1]))
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What is stored when nothing goes wrong."""
    database = tmp_path_factory.mktemp("undisturbed") / "fx.db"
    with dg.DagsterInstance.ephemeral() as instance, running_sandbox() as sandbox:
        assert run(instance, sandbox, database, retries=0).success
        assert asked(sandbox) == Counter(DATES)
    return dump(database)


def told(instance: dg.DagsterInstance) -> str:
    """What the sensor says that sends alerts, when it looks at all runs that have ended."""
    result = alerts(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SensorResult)
    return str(result.skip_reason)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # by Apprise's plugins
@pytest.mark.parametrize(("retries", "seed"), [(0, 1), (3, 2)])
def test_after_two_reruns_the_content_is_as_if_nothing_had_gone_wrong(
    folder: Path,
    instance: dg.DagsterInstance,
    undisturbed: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    retries: int,
    seed: int,
) -> None:
    for name, value in {"FIXER_ACCESS_KEY": KEY, "FX_ALERT_URLS": ALERTS, "FX_DATABASE": "fx.db"}.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)  # all that any library has to say
    database = folder / "fx.db"
    with running_sandbox(faults=FAULTS, seed=seed, timeout_seconds=2.0) as sandbox:
        result = run(instance, sandbox, database, retries=retries)
        token = run_command(folder, "token", "create", "reader", FX_DATABASE="fx.db").stdout.strip()
        worth_an_alert = not result.success
        for _ in range(2):
            left = failed(instance)
            print(f"{sandbox.stats()['total']} calls, {len(left)} dates left")
            assert left == set(DATES) - stored_dates(database)
            assert not list(broken(database))
            assert result.success == (not left)
            if not left:
                break
            assert named(result) == left
            before = asked(sandbox)
            result = run(instance, sandbox, database, retries=retries, missing=True)
            assert set(asked(sandbox) - before) == left
        assert result.success
        outcomes = sandbox.stats()["endpoints"]["historical"]
    assert set(outcomes) == {
        *("ok", "rate-limit", "server-error", "timeout", "reset", "cut", "html", "plain"),
        *("empty", "wrong-date", "wrong-base", "mislabelled-base", "fixer-error"),
    }
    assert failed(instance) == set()
    assert dump(database) == undisturbed
    assert ("was not accepted" in told(instance)) == worth_an_alert
    (folder / "logs").write_text(caplog.text, encoding="utf-8")
    (folder / "output").write_text("".join(capfd.readouterr()), encoding="utf-8")
    assert len(token) > 20
    assert list(Secrets(token).traces(folder)) == []
