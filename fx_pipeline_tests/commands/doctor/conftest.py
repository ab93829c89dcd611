"""`doctor` in this process, with free ports and without limits of time: a busy machine may need longer."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fx_pipeline.clock import yesterday
from fx_pipeline.commands.cli import main
from fx_pipeline.commands.doctor import subjects
from fx_pipeline.rates import DayRates
from fx_pipeline.settings import load_settings
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.ports import reserved_ports
from fx_pipeline_tests.waiting import PATIENCE

Doctor = Callable[..., dict[str, list[tuple[str, str, str | None]]]]


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    patient = tuple(replace(subject, seconds=PATIENCE) for subject in subjects.SUBJECTS)
    monkeypatch.setattr(subjects, "SUBJECTS", patient)
    with reserved_ports(3) as ports:
        for name, port in zip(("FX_API_PORT", "FX_DAGSTER_PORT", "FX_SANDBOX_PORT"), ports, strict=True):
            monkeypatch.setenv(name, str(port))
        yield ports


def run_doctor(*options: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *options])


@pytest.fixture
def doctor() -> Doctor:
    """Return a function that runs `doctor --json` and returns the state, text and remedy of each check."""

    def run(*options: str) -> dict[str, list[tuple[str, str, str | None]]]:
        result = run_doctor("--json", *options)
        found: list[dict[str, Any]] = json.loads(result.stdout)
        assert result.exit_code == any(one["state"] == "fault" for one in found)
        lines: dict[str, list[tuple[str, str, str | None]]] = {}
        for one in found:
            assert one["state"] == "ok" or one["remedy"], f"no remedy: {one}"
            lines.setdefault(one["check"], []).append((one["state"], one["text"], one["remedy"]))
        return lines

    return run


@pytest.fixture
def stored() -> None:
    """Store yesterday's rates."""
    with RateStore(load_settings().fx_database) as store:
        day = DayRates(date=yesterday(), base="EUR", timestamp=0, rates={"USD": 1.1})
        store.want([day.date])
        store.record([fetch_of(day, provider="sandbox")])
