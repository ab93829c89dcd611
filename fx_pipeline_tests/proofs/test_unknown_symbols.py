"""A code in FX_SYMBOLS that the provider does not know or never sends is named; the others are fetched."""

import datetime as dt
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline_tests.command_line import messages, run_command
from fx_pipeline_tests.defs.rates_run import QUIET, resources, results, verdicts
from fx_pipeline_tests.proofs.content import broken, stored_dates
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

FIRST, LAST = "2024-01-01", "2024-01-10"


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    monkeypatch.setenv("FIXER_MONTHLY_QUOTA", "100")
    monkeypatch.setattr("fx_pipeline.settings.Settings.daily_calls", 0)
    with running_sandbox() as sandbox:
        yield sandbox


def run(
    instance: dg.DagsterInstance,
    sandbox: Sandbox,
    symbols: str,
    first: str = FIRST,
    last: str = LAST,
    *,
    timeseries: bool = False,
    concurrency: int = 1,
) -> dg.ExecuteInProcessResult:
    config = rates_config().to_config_dict()  # type: ignore[no-untyped-call]
    return defs.resolve_job_def("rates_job").execute_in_process(
        instance=instance,
        tags=range_tags(first, last),
        run_config={**config, **QUIET},
        raise_on_error=False,
        resources={
            "fixer": FixerResource(
                base_url=sandbox.url,
                base="EUR",
                symbols=symbols.split(","),
                concurrency=concurrency,
                timeseries=timeseries,
            ),
            "database": DatabaseResource(path="fx.db"),
        },
    )


def read_names(instance: dg.DagsterInstance, sandbox: Sandbox) -> bool:
    """Run the asset `symbols`, as each month does."""
    job = defs.resolve_job_def("symbols_job")
    done = job.execute_in_process(instance=instance, run_config=QUIET, resources=resources(sandbox.url))
    return done.success


def why(result: dg.ExecuteInProcessResult) -> str:
    """What the failure of a run says; it has failed for good, without another attempt."""
    assert not result.success
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return failure.user_failure_data.description or ""


def stored_codes(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "fx.db")) as connection:
        return {code for (code,) in connection.execute("SELECT DISTINCT currency FROM rates")}


def calls(folder: Path) -> int:
    """The calls that the ledger has counted."""
    with closing(sqlite3.connect(folder / "fx.db")) as connection:
        return int(connection.execute("SELECT sum(calls) FROM fetches").fetchone()[0])


def outcomes(sandbox: Sandbox) -> dict[str, dict[str, int]]:
    endpoints: dict[str, dict[str, int]] = sandbox.stats()["endpoints"]
    return endpoints


def drop(sandbox: Sandbox, code: str) -> None:
    """The provider no longer knows this code."""
    history = sandbox.state.history
    history.names = {name: title for name, title in history.names.items() if name != code}


def add(sandbox: Sandbox, code: str) -> None:
    """The provider knows a code that it has no rate of."""
    history = sandbox.state.history
    history.names = {**history.names, code: "A new currency"}


@pytest.mark.parametrize(
    ("symbols", "unknown"),
    [
        ("USD,GPB,CHF", ["GPB"]),
        ("GPB,USD,CHF", ["GPB"]),
        ("USD,XYZ,GPB,CHF,QQQ", ["GPB", "QQQ", "XYZ"]),
        ("EUR,USD,CHF,GPB", ["GPB"]),
    ],
)
def test_the_others_are_fetched_and_a_check_names_it(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox, symbols: str, unknown: list[str]
) -> None:
    done = run(instance, sandbox, symbols)
    assert done.success
    assert outcomes(sandbox) == {"historical": {"202": 1, "ok": 10}, "symbols": {"ok": 1}}
    assert calls(folder) == sandbox.stats()["total"] == 12
    assert len(stored_dates(folder / "fx.db")) == 10
    assert stored_codes(folder) == {"EUR", "USD", "CHF"}
    assert list(broken(folder / "fx.db")) == []
    assert verdicts(done) == {
        **dict.fromkeys(verdicts(done), "passed"),
        "symbols": "ERROR",
    }
    said = (results(done)["symbols"].description or "").splitlines()
    assert sorted(said) == [
        f"the provider does not know {code}, so it is skipped. Correct or remove it in FX_SYMBOLS."
        for code in unknown
    ]
    shown = [
        event.metadata["symbols_left_out"].value for event in done.asset_materializations_for_node("rates")
    ]
    assert shown == [", ".join(unknown)] * 10
    logged = [
        entry.user_message
        for entry in instance.all_logs(done.run_id)
        if entry.user_message.startswith("FX_SYMBOLS: ")
    ]
    assert [re.sub(r"[\d-]{10}", "DAY", line) for line in sorted(logged)] == [
        f"FX_SYMBOLS: {code}: the provider does not know it (asked on DAY); no rate of it is stored."
        for code in unknown
    ]


def test_the_next_run_asks_for_the_others_only(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run(instance, sandbox, "USD,GPB")
    done = run(instance, sandbox, "USD,GPB", "2024-01-11", "2024-01-13")
    assert done.success
    assert outcomes(sandbox) == {"historical": {"202": 1, "ok": 13}, "symbols": {"ok": 1}}
    assert verdicts(done)["symbols"] == "ERROR"
    corrected = run(instance, sandbox, "USD,GBP", "2024-01-14", "2024-01-14")
    assert verdicts(corrected)["symbols"] == "passed"
    assert outcomes(sandbox)["historical"] == {"202": 1, "ok": 14}
    assert stored_codes(folder) == {"EUR", "USD", "GBP"}


def test_all_threads_are_stopped_by_the_first_refusal(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    done = run(instance, sandbox, "USD,GPB", "2024-01-01", "2024-03-31", concurrency=4)
    assert done.success
    asked = outcomes(sandbox)
    assert (asked["historical"]["ok"], asked["symbols"]) == (91, {"ok": 1})
    assert 1 <= asked["historical"]["202"] <= 4  # those that were under way together
    assert calls(folder) == sandbox.stats()["total"]
    assert len(done.asset_materializations_for_node("rates")) == 91


def test_in_a_series_too(folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    done = run(instance, sandbox, "USD,GPB", timeseries=True)
    assert done.success
    assert outcomes(sandbox) == {"symbols": {"ok": 1}, "timeseries": {"202": 1, "ok": 1}}
    assert len(stored_dates(folder / "fx.db")) == 10
    assert verdicts(done)["symbols"] == "ERROR"


def test_a_code_that_the_provider_drops_stops_nothing(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    assert run(instance, sandbox, "USD,BGN").success
    drop(sandbox, "BGN")
    done = run(instance, sandbox, "USD,BGN", "2024-01-11", "2024-01-13")
    assert done.success
    assert outcomes(sandbox) == {"historical": {"202": 1, "ok": 13}, "symbols": {"ok": 1}}
    assert {name for name, said in verdicts(done).items() if said != "passed"} == {"symbols"}
    with closing(sqlite3.connect("fx.db")) as connection:
        assert connection.execute("SELECT max(date) FROM rates WHERE currency = 'BGN'").fetchone() == (LAST,)


def test_a_code_that_the_provider_has_again_is_fetched_again(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    known = sandbox.state.history.names
    drop(sandbox, "BGN")
    run(instance, sandbox, "USD,BGN")
    sandbox.state.history.names = known
    assert verdicts(run(instance, sandbox, "USD,BGN", "2024-01-11", "2024-01-11"))["symbols"] == "ERROR"
    assert read_names(instance, sandbox)
    done = run(instance, sandbox, "USD,BGN", "2024-01-12", "2024-01-12")
    assert verdicts(done)["symbols"] == "passed"
    assert stored_codes(folder) == {"EUR", "USD", "BGN"}


def test_where_none_is_known_the_run_stops_and_later_ones_ask_nothing(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    for _ in range(2):
        said = why(run(instance, sandbox, "GPB,XYZ"))
        assert said.startswith("Fixer: none of the currencies in FX_SYMBOLS is known: GPB, XYZ. ")
        assert said.endswith(f"\nNot fetched: {FIRST} to {LAST}")
        assert outcomes(sandbox) == {"historical": {"202": 1}, "symbols": {"ok": 1}}
    assert stored_dates(folder / "fx.db") == set()


def test_where_the_list_has_all_of_them_the_run_stops_and_says_so(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Contradicting(dict[str, str]):
        """A list that holds a code and does not know it."""

        def __contains__(self, code: object) -> bool:
            return code != "BGN" and super().__contains__(code)

    sandbox.state.history.names = Contradicting(sandbox.state.history.names)
    said = why(run(instance, sandbox, "USD,BGN"))
    assert said.startswith(
        "Fixer: one of USD, BGN, EUR is refused, although the list of currencies has all of"
    )
    assert outcomes(sandbox) == {"historical": {"202": 1}, "symbols": {"ok": 1}}


def test_a_list_that_does_not_come_stops_the_run(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(quota=1)
    said = why(run(instance, sandbox, "USD,GPB"))
    assert said.startswith("Fixer, asked for symbols: the month's calls are used up")
    assert outcomes(sandbox) == {"historical": {"202": 1}, "symbols": {"104": 1}}
    assert calls(folder) == 2


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (dt.date(2024, 1, 3), "WARN"),
        (dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=3), "ERROR"),
    ],
    ids=["long ago", "lately"],
)
def test_a_code_that_is_accepted_and_never_sent_is_named_too(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox, last: dt.date, said: str
) -> None:
    add(sandbox, "XYZ")
    done = run(instance, sandbox, "USD,XYZ", str(last - dt.timedelta(days=2)), str(last))
    assert done.success
    assert outcomes(sandbox) == {"historical": {"ok": 3}}
    assert verdicts(done)["symbols"] == said
    assert results(done)["symbols"].description == (
        "the provider accepts XYZ but has sent no rate. If the currency has ended, remove it from FX_SYMBOLS."
    )


def test_the_command_and_status_name_it(folder: Path, sandbox: Sandbox) -> None:
    add(sandbox, "XYZ")
    settings = {
        "FIXER_BASE_URL": sandbox.url,
        "FIXER_ACCESS_KEY": "a-key",
        "FX_DATABASE": "fx.db",
        "FX_SYMBOLS": "USD,GPB,XYZ,CHF",
    }
    done = run_command(folder, "ingest", "--from", FIRST, "--to", LAST, **settings)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "10 days stored.")
    asked = r"\(asked on \d{4}-\d\d-\d\d\)"
    assert re.fullmatch(
        rf"symbols GPB: the provider does not know it {asked}; no rate of it is stored\. "
        r"Correct or remove it in FX_SYMBOLS\.\n"
        r"symbols XYZ: there is none for 2024-01-10, the newest day; no rate of it is stored\. "
        r"Correct or remove it in FX_SYMBOLS\.\n",
        messages(done.stderr),
    ), done.stderr
    document = json.loads(run_command(folder, "status", "--json", **settings).stdout)
    assert document["missing_symbols"].keys() == {"GPB", "XYZ"}
    again = run_command(folder, "ingest", "--date", LAST, "--json", **settings)
    assert json.loads(again.stdout)["missing_symbols"] == document["missing_symbols"]
    corrected = run_command(folder, "status", "--json", **{**settings, "FX_SYMBOLS": "USD,CHF"})
    assert json.loads(corrected.stdout)["missing_symbols"] == {}
