"""A pytest plugin that skips slow tests without `--slow`, or too late, and reports what was skipped and why.

FX_TESTS_SLOW_UNTIL is a time in seconds since 1970. After it, no slow test starts. `.ci/run` sets it, so that
it ends in time on a machine of any speed.
"""

import os
import time
from collections import Counter

import pytest

NO_TIME = "no time left: set LATEST_PROOF to more seconds"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--slow`."""
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the slow tests, or put them last: those of the deployed product first, then the proofs.

    Workers of pytest-xdist keep this order only with the options in `.ci/run`.
    """
    if config.getoption("--slow"):
        items.sort(key=_rank)
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: `make test-all` runs them"))


def _rank(item: pytest.Item) -> int:
    if not item.get_closest_marker("slow"):
        return 0
    folders = item.path.parts
    return 1 if "deploy" in folders else 2 if "proofs" in folders else 3


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a slow test that would start too late."""
    until = os.environ.get("FX_TESTS_SLOW_UNTIL")
    if until and time.time() > float(until) and item.get_closest_marker("slow"):
        pytest.skip(NO_TIME)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print how many tests were skipped, for each reason, as the last line."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    late = Counter(
        report.nodeid.partition("::")[0]
        for report in reporter.stats.get("skipped", [])
        if report.longrepr[2].endswith(NO_TIME)
    )
    for file, count in sorted(late.items()):
        print(f"Not run, because no time was left: {count} in {file}")
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", [])
    )
    skipped = "; ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
    print(f"Skipped: {skipped or 'none'}")
