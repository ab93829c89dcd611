"""Prometheus' own tool for checks and tests of rules, and the tool of Alertmanager."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml


class Expected(NamedTuple):
    """The value of an expression without labels at an instant such as `1h30m`; None if it has none."""

    at: str
    expression: str
    value: float | None


class Case(NamedTuple):
    """A test of rules and expressions on series."""

    name: str
    series: Mapping[str, str]
    """Values in promtool's notation by series: `1x3` is 1, 1, 1, 1."""
    expected: Iterable[Expected]
    interval: str = "1m"
    """Between two values, and between two evaluations of the rules."""


def run(program: str, *arguments: str | Path) -> None:
    """Run promtool or amtool, and fail with its output if it fails. Skip the test if it is not installed."""
    if shutil.which(program) is None:
        package = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}[program]
        pytest.skip(f"no {program}: install Debian's package {package}")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_cases(folder: Path, rules: Iterable[Path], cases: Iterable[Case]) -> None:
    """Run `promtool test rules` on these cases, with these files of rules."""
    by_interval: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        test = {
            "name": case.name,
            "interval": case.interval,
            "input_series": [{"series": one, "values": values} for one, values in case.series.items()],
            "promql_expr_test": [*map(_expectation, case.expected)],
        }
        by_interval.setdefault(case.interval, []).append(test)
    files = []
    for interval, tests in by_interval.items():
        document = {"rule_files": [*map(str, rules)], "evaluation_interval": interval, "tests": tests}
        files.append(folder / f"every_{interval}.yml")
        files[-1].write_text(yaml.safe_dump(document), encoding="utf-8")
    run("promtool", "test", "rules", *files)


def _expectation(expected: Expected) -> dict[str, Any]:
    samples = [] if expected.value is None else [{"labels": "{}", "value": expected.value}]
    return {"eval_time": expected.at, "expr": expected.expression, "exp_samples": samples}
