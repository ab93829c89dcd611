from collections.abc import Iterator

import pytest

from fx_pipeline_tests.object_store import ObjectStore, running_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Run an S3 server for the module, with its credentials in the environment."""
    with running_store(tmp_path_factory.mktemp("store")) as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.credentials.items():
            patch.setenv(name, value)
        yield store
