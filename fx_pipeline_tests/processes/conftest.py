"""Free ports for `fx-pipeline up`."""

from collections.abc import Iterator

import pytest

from fx_pipeline_tests.processes.running_up import reserved


@pytest.fixture
def free_ports() -> Iterator[dict[str, str]]:
    """Yield settings with free ports."""
    with reserved() as settings:
        yield settings
