"""Traces of runs, as a collector receives them, and a process without traces."""

import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fx_pipeline_tests.collector import collecting
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.fixer.scripted_server import Play, reply, scripted

KEY = "4f9d0c7be21a58d36e0b9c2f71a84d55"


def day(path: str) -> Play:
    """Return Fixer's response for a day, and an error for the 4th, which repeats the key."""
    date = urlsplit(path).path.rpartition("/")[2]
    if date == "2024-05-04":
        error = {"code": 106, "type": "no_rates_available", "info": f"no rates for {KEY}"}
        return reply({"success": False, "error": error})
    rates = {"EUR": 1, "USD": 1.08, "GBP": 0.85}
    return reply({"success": True, "timestamp": 1714953599, "base": "EUR", "date": date, "rates": rates})


RUN = """
import dagster as dg
from fx_pipeline.dagster_internals.runs import execute_run
from fx_pipeline.definitions import defs
from fx_pipeline.defs.run_config import range_tags
job = defs.resolve_job_def("rates_job")
with dg.DagsterInstance.ephemeral() as instance:
    run = instance.create_run_for_job(job, tags=range_tags("2024-05-04", "2024-05-05"))
    execute_run(job, run, instance)
print(run.run_id)
"""


def test_a_run_has_its_calls_and_its_transactions(tmp_path: Path) -> None:
    with collecting() as collector, scripted(by_path=day) as fixer:
        settings = {
            "FIXER_BASE_URL": fixer.url,
            "FIXER_ACCESS_KEY": KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        done = run_command(tmp_path, program=[sys.executable, "-c", RUN], **settings)
        assert done.returncode == 0, done.stderr
        spans = collector.wait_for("run rates_job")
    [run] = [one for one in spans if one.name == "run rates_job"]
    assert (run.failed, run.attributes["dagster.run_id"]) == (True, done.stdout.strip())
    below = [one for one in spans if one.trace == run.trace and one is not run]
    assert {one.parent for one in below} == {run.id}
    calls = sorted((one for one in below if one.name == "GET historical"), key=lambda one: one.failed)
    assert [one.kind for one in calls] == ["CLIENT", "CLIENT"]
    assert calls[0].attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.full": f"{fixer.url}/2024-05-05?base=EUR",
        "server.address": "127.0.0.1",
        "server.port": fixer.port,
    }
    assert (calls[1].failed, calls[1].attributes["error.type"]) == (True, "NoRates")
    stores = [one for one in below if one.name == "store fx.db"]
    assert sum(int(one.attributes["fx.days"] or 0) for one in stores) == 1
    assert {one.attributes["dagster.run_id"] for one in stores} == {run.attributes["dagster.run_id"]}

    # The key went to the provider and not to the collector; the trace went to the collector only.
    assert {parse_qs(urlsplit(path).query)["access_key"][0] for path in fixer.paths} == {KEY}
    assert KEY.encode() not in b"".join(collector.bodies)
    assert not [head for head in fixer.requests if "traceparent" in head.lower()]


WITHOUT = """
import sys
sys.modules["opentelemetry.exporter"] = None
from fx_pipeline import tracing
from fx_pipeline.settings import load_settings
tracing.start_tracing(load_settings())
print(tracing.is_on())
"""


def test_without_the_extra_there_are_no_traces_but_a_warning(tmp_path: Path) -> None:
    done = run_command(
        tmp_path,
        program=[sys.executable, "-c", WITHOUT],
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318",
    )
    assert done.stdout == "False\n"
    assert done.stderr == (
        "Warning: OTEL_EXPORTER_OTLP_ENDPOINT is set, but there are no traces without the extra otel: "
        "`pip install 'fx-pipeline[otel]'`.\n"
    )


OFF = """
import sys
from fx_pipeline.api.app import create_app
from fx_pipeline.store.database import open_database
from fx_pipeline.settings import load_settings
open_database(load_settings().fx_database).close()
app, layers = create_app(), []
while app := getattr(app, "app", None):
    layers.append(type(app).__name__)
print(*layers, *(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_without_the_setting_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    done = run_command(tmp_path, program=[sys.executable, "-c", OFF], FX_DATABASE=str(tmp_path / "fx.db"))
    assert done.stdout.split()[:2] == ["ResponseCache", "Edge"], done.stderr
    assert "Traced" not in done.stdout
    assert "opentelemetry" not in done.stdout
