"""The image of the Dockerfile, in containers without rights: no capability, a read-only root file system."""

import json
import uuid
from collections.abc import Iterator

import httpx
import psutil
import pytest

from fx_pipeline_tests.deploy.containers import REVISION, VERSION, Podman
from fx_pipeline_tests.waiting import wait_for

pytestmark = pytest.mark.slow

CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges")  # noqa: S108
STATUS = "import pathlib; print(pathlib.Path('/proc/self/status').read_text())"
MEGABYTE = 10**6


@pytest.fixture
def volume(podman: Podman) -> Iterator[str]:
    """Yield the name of a volume. It is removed at the end, with all containers that use it."""
    name = f"fx-test-{uuid.uuid4().hex[:8]}"
    yield name
    for container in podman("ps", "--all", "--quiet", "--filter", f"volume={name}").split():
        podman("rm", "--force", container)
    podman("volume", "rm", "--force", name)


def start(podman: Podman, volume: str, image: str, *arguments: str) -> str:
    return podman("run", "--detach", *CONFINED, "--volume", f"{volume}:/data", image, *arguments)


def get(podman: Podman, container: str, path: str) -> httpx.Response | None:
    assert podman("inspect", container, "--format", "{{.State.Running}}") == "true", podman("logs", container)
    try:
        return httpx.get(f"http://{podman.address(container)}:8001{path}", trust_env=False, timeout=60)
    except httpx.TransportError:
        return None


def wait_until_healthy(podman: Podman, container: str) -> None:
    wait_for(lambda: podman.run("healthcheck", "run", container).returncode == 0, pause=0.2)


def stop(podman: Podman, container: str, seconds: int) -> int:
    """Send SIGTERM, and SIGKILL after some seconds. Return the exit code."""
    podman("stop", "--time", str(seconds), container)
    return int(podman("inspect", container, "--format", "{{.State.ExitCode}}"))


def resident(podman: Podman, container: str) -> float:
    """Return the memory of all processes of a container, in megabytes. Shared pages count once."""
    first = psutil.Process(int(podman("inspect", container, "--format", "{{.State.Pid}}")))
    processes = [first, *first.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / MEGABYTE


def test_the_image_has_no_tools_to_build_or_install(podman: Podman, images: tuple[str, str]) -> None:
    for image in images:
        [facts] = json.loads(podman("image", "inspect", image))
        assert facts["Config"]["User"] == "10001:10001"
        assert facts["Config"]["Volumes"] == {"/data": {}}
        labels = facts["Config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == VERSION
        assert labels["org.opencontainers.image.revision"] == REVISION

        script = "for name in pip pip3 uv cc strip git curl; do command -v $name; done; python -m pip"
        found = podman.run("run", "--rm", "--entrypoint", "sh", image, "-c", script)
        assert (found.stdout, "No module named pip" in found.stderr) == ("", True), found.stderr
        assert REVISION in podman("run", "--rm", image, "--version")


def test_everything_in_one_container_keeps_its_days_on_the_volume(
    podman: Podman, images: tuple[str, str], volume: str
) -> None:
    everything, api = images
    container = start(podman, volume, everything)
    wait_for(lambda: "Ctrl-C stops everything" in podman("logs", container), pause=0.2)
    wait_until_healthy(podman, container)
    status = podman("exec", container, "python", "-c", STATUS)
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    refused = podman.run("exec", container, "touch", "/opt/fx-pipeline/file")
    assert "Read-only file system" in refused.stderr
    stored = get(podman, container, "/rates/latest")
    assert stored is not None and stored.json()["success"] is True
    assert stop(podman, container, 20) == 0

    podman("start", container)
    wait_until_healthy(podman, container)
    again = get(podman, container, f"/rates/{stored.json()['date']}")
    assert again is not None and again.json()["rates"] == stored.json()["rates"]
    assert stop(podman, container, 20) == 0

    reader = start(podman, volume, api)
    wait_until_healthy(podman, reader)
    read = get(podman, reader, f"/rates/{stored.json()['date']}")
    assert read is not None and read.json()["rates"] == stored.json()["rates"]
    page = get(podman, reader, "/")
    assert page is not None and "</html>" in page.text
    refusal = get(podman, reader, "/fx?sql=select+1")
    assert refusal is not None and refusal.status_code == 403
    assert resident(podman, reader) < 80
    assert stop(podman, reader, 5) == 0


def test_the_image_that_only_reads_is_small(podman: Podman, images: tuple[str, str]) -> None:
    _, api = images
    [facts] = json.loads(podman("image", "inspect", api))
    assert facts["Size"] < 250 * MEGABYTE
    found = podman.run("run", "--rm", "--entrypoint", "python", api, "-c", "import dagster")
    assert "No module named 'dagster'" in found.stderr
