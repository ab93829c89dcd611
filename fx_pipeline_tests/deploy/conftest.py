"""The images, built once for all tests of a process."""

import pytest

from fx_pipeline_tests.deploy.containers import Podman, build_images, build_services, require_podman


@pytest.fixture(scope="session")
def podman() -> Podman:
    """Return podman, with a base image. Skips the test if no container can be built here."""
    return require_podman()


@pytest.fixture(scope="session")
def images(podman: Podman) -> tuple[str, str]:
    """Return the names of the images: the default target, and `api`."""
    return build_images(podman)


@pytest.fixture(scope="session")
def services(podman: Podman) -> str:
    """Return the name of an image with PostgreSQL, nginx, Redis, Prometheus and Alertmanager."""
    return build_services(podman)
