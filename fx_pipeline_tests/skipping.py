"""A pytest plugin that skips slow tests without `--slow`, and reports what was skipped and why."""

from collections import Counter

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--slow`."""
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests that are marked as slow."""
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: `make test-all` runs them"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print how many tests were skipped, for each reason, as the last line."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", [])
    )
    skipped = "; ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
    print(f"Skipped: {skipped or 'none'}")
