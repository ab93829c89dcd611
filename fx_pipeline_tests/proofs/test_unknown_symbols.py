"""A code in FX_SYMBOLS that the provider does not know or never sends is reported; the others are fetched."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.defs.resources import FixerResource
from fx_pipeline_tests.command_line import messages, run_command
from fx_pipeline_tests.defs.rates_run import QUIET, resources, results, verdicts
from fx_pipeline_tests.proofs.runs import failure_text, run_with
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, rows, stored_dates

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
    fixer = FixerResource(
        base_url=sandbox.url,
        base="EUR",
        symbols=symbols.split(","),
        concurrency=concurrency,
        timeseries=timeseries,
    )
    return run_with(instance, fixer, first, last)


def read_names(instance: dg.DagsterInstance, sandbox: Sandbox) -> bool:
    """Run the asset `symbols`, as the monthly schedule does. Return whether it succeeded."""
    job = defs.resolve_job_def("symbols_job")
    done = job.execute_in_process(instance=instance, run_config=QUIET, resources=resources(sandbox.url))
    return done.success


def stored_codes(folder: Path) -> set[str]:
    return {code for (code,) in rows(folder / "fx.db", "SELECT DISTINCT currency FROM rates")}


def calls(folder: Path) -> int:
    """Return how many calls the ledger has counted."""
    [(count,)] = rows(folder / "fx.db", "SELECT sum(calls) FROM fetches")
    return int(count)


def outcomes(sandbox: Sandbox) -> dict[str, dict[str, int]]:
    endpoints: dict[str, dict[str, int]] = sandbox.stats()["endpoints"]
    return endpoints


def drop(sandbox: Sandbox, code: str) -> None:
    """Let the provider forget a code."""
    history = sandbox.state.history
    history.names = {name: title for name, title in history.names.items() if name != code}


def add(sandbox: Sandbox, code: str) -> None:
    """Let the provider know a code for which it has no rate."""
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
def test_fetches_the_known_codes_and_a_check_reports_the_unknown_one(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox, symbols: str, unknown: list[str]
) -> None:
    done = run(instance, sandbox, symbols)
    assert done.success
    assert outcomes(sandbox) == {"historical": {"202": 1, "ok": 10}, "symbols": {"ok": 1}}
    assert calls(folder) == sandbox.stats()["total"] == 12
    assert len(stored_dates(folder / "fx.db")) == 10
    assert stored_codes(folder) == {"EUR", "USD", "CHF"}
    assert_consistent(folder / "fx.db")
    assert verdicts(done) == {
        **dict.fromkeys(verdicts(done), "passed"),
        "symbols": "ERROR",
    }
    text = (results(done)["symbols"].description or "").splitlines()
    assert sorted(text) == [
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
        f"FX_SYMBOLS: {code}: the provider does not know it (checked on DAY); no rate is stored."
        for code in unknown
    ]


def test_the_next_run_leaves_the_unknown_code_out(
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


def test_the_first_refusal_stops_all_threads(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    done = run(instance, sandbox, "USD,GPB", "2024-01-01", "2024-03-31", concurrency=4)
    assert done.success
    asked = outcomes(sandbox)
    assert (asked["historical"]["ok"], asked["symbols"]) == (91, {"ok": 1})
    assert 1 <= asked["historical"]["202"] <= 4  # those that were in flight together
    assert calls(folder) == sandbox.stats()["total"]
    assert len(done.asset_materializations_for_node("rates")) == 91


def test_leaves_the_code_out_of_a_series(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    done = run(instance, sandbox, "USD,GPB", timeseries=True)
    assert done.success
    assert outcomes(sandbox) == {"symbols": {"ok": 1}, "timeseries": {"202": 1, "ok": 1}}
    assert len(stored_dates(folder / "fx.db")) == 10
    assert verdicts(done)["symbols"] == "ERROR"


def test_a_code_that_the_provider_drops_does_not_stop_the_run(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    assert run(instance, sandbox, "USD,BGN").success
    drop(sandbox, "BGN")
    done = run(instance, sandbox, "USD,BGN", "2024-01-11", "2024-01-13")
    assert done.success
    assert outcomes(sandbox) == {"historical": {"202": 1, "ok": 13}, "symbols": {"ok": 1}}
    assert {name for name, text in verdicts(done).items() if text != "passed"} == {"symbols"}
    assert rows(folder / "fx.db", "SELECT max(date) FROM rates WHERE currency = 'BGN'") == [(LAST,)]


def test_fetches_a_code_again_once_the_provider_knows_it(
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


def test_if_no_code_is_known_the_run_stops_and_later_runs_make_no_call(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    for _ in range(2):
        text = failure_text(run(instance, sandbox, "GPB,XYZ"))
        assert text.startswith("Fixer: none of the currencies in FX_SYMBOLS is known: GPB, XYZ. ")
        assert text.endswith(f"\nNot fetched: {FIRST} to {LAST}")
        assert outcomes(sandbox) == {"historical": {"202": 1}, "symbols": {"ok": 1}}
    assert stored_dates(folder / "fx.db") == set()


def test_stops_if_the_provider_lists_every_code_that_it_refuses(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Contradicting(dict[str, str]):
        """A list that contains a code but denies it."""

        def __contains__(self, code: object) -> bool:
            return code != "BGN" and super().__contains__(code)

    sandbox.state.history.names = Contradicting(sandbox.state.history.names)
    text = failure_text(run(instance, sandbox, "USD,BGN"))
    assert text.startswith(
        "Fixer: one of USD, BGN, EUR is refused, although the list of currencies has all of"
    )
    assert outcomes(sandbox) == {"historical": {"202": 1}, "symbols": {"ok": 1}}


def test_stops_if_the_list_of_codes_cannot_be_fetched(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(quota=1)
    text = failure_text(run(instance, sandbox, "USD,GPB"))
    assert text.startswith("Fixer (symbols): this month's calls are used up")
    assert outcomes(sandbox) == {"historical": {"202": 1}, "symbols": {"104": 1}}
    assert calls(folder) == 2


@pytest.mark.parametrize(
    ("last", "text"),
    [
        (dt.date(2024, 1, 3), "WARN"),
        (dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=3), "ERROR"),
    ],
    ids=["long ago", "lately"],
)
def test_reports_a_code_that_is_accepted_but_never_sent(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox, last: dt.date, text: str
) -> None:
    add(sandbox, "XYZ")
    done = run(instance, sandbox, "USD,XYZ", str(last - dt.timedelta(days=2)), str(last))
    assert done.success
    assert outcomes(sandbox) == {"historical": {"ok": 3}}
    assert verdicts(done)["symbols"] == text
    assert results(done)["symbols"].description == (
        "the provider accepts XYZ but has sent no rate. If the currency has ended, remove it from FX_SYMBOLS."
    )


@pytest.mark.slow
def test_ingest_and_status_report_the_codes(folder: Path, sandbox: Sandbox) -> None:
    add(sandbox, "XYZ")
    settings = {
        "FIXER_BASE_URL": sandbox.url,
        "FIXER_ACCESS_KEY": "a-key",
        "FX_DATABASE": "fx.db",
        "FX_SYMBOLS": "USD,GPB,XYZ,CHF",
    }
    done = run_command(folder, "ingest", "--from", FIRST, "--to", LAST, **settings)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "10 days stored.")
    asked = r"\(checked on \d{4}-\d\d-\d\d\)"
    assert re.fullmatch(
        rf"symbols GPB: the provider does not know it {asked}; no rate is stored\. "
        r"Correct or remove it in FX_SYMBOLS\.\n"
        r"symbols XYZ: no rate for 2024-01-10, the newest day; no rate is stored\. "
        r"Correct or remove it in FX_SYMBOLS\.\n",
        messages(done.stderr),
    ), done.stderr
    document = json.loads(run_command(folder, "status", "--json", **settings).stdout)
    assert document["missing_symbols"].keys() == {"GPB", "XYZ"}
    again = run_command(folder, "ingest", "--date", LAST, "--json", **settings)
    assert json.loads(again.stdout)["missing_symbols"] == document["missing_symbols"]
    corrected = run_command(folder, "status", "--json", **{**settings, "FX_SYMBOLS": "USD,CHF"})
    assert json.loads(corrected.stdout)["missing_symbols"] == {}
