"""Podman without a registry, for the tests of the image: its own store, and a base made by mmdebstrap.

The base, and everything that does not depend on the checkout, stays in a folder of the user's cache. So the
second session needs a fraction of the time.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from filelock import FileLock

from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.deploy.installation import options_of_pip
from fx_pipeline_tests.waiting import PATIENCE

BASE = "localhost/fx-test-base"
UV = "localhost/fx-test-uv"
VERSION, REVISION = "9.8.7", "0123456789ab"

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fx-pipeline-tests"
_PROGRAMS = {
    "podman": "podman",
    "runc": "runc",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
}
_SOURCES = ("http://deb.debian.org/debian/", "https://pypi.org/simple/uv/")
_SUITE = "trixie"  # as of the base in the Dockerfile
_MMDEBSTRAP = [
    *("mmdebstrap", "--variant=minbase", "--include=python3,ca-certificates"),
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")),
    _SUITE,
]
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

# The limits: the default ones need CAP_SYS_RESOURCE. runc, because crun 1.8 refuses hybrid control groups.
_CONTAINERS_CONF = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
"""


@dataclass(frozen=True)
class Podman:
    """Podman with a store of its own."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, check: bool = True, stdin: str = "") -> str:
        """Run a command of podman, and return its output. If it fails, fail with its messages."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0 or not check, (
            f"podman {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return done.stdout.strip()

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command of podman."""
        return subprocess.run(
            ["podman", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
        )

    def has_image(self, name: str) -> bool:
        """Return whether there is an image of this name."""
        return self.run("image", "exists", name).returncode == 0

    def build(self, context: Path, name: str, *arguments: str) -> None:
        """Build an image. What this machine needs to reach PyPI is mounted, and never part of an image."""
        settings = _CACHE / "uv.toml"
        self(
            *("build", "--format", "docker", "--network", "host", "--tag", name),
            *(
                "--volume",
                f"{_CERTIFICATES}:{_CERTIFICATES}:ro",
                "--volume",
                f"{settings}:/etc/uv/uv.toml:ro",
            ),
            *arguments,
            str(context),
        )

    def address(self, container: str) -> str:
        """Return the address of a container in podman's own network."""
        return self("inspect", container, "--format", "{{.NetworkSettings.IPAddress}}")


def require_podman() -> Podman:
    """Return podman, with the base in its store. Skip the test if containers cannot be built here."""
    if os.geteuid() != 0:
        pytest.skip("containers: only root can build them here")
    missing = sorted(package for program, package in _PROGRAMS.items() if shutil.which(program) is None)
    if missing:
        pytest.skip(f"containers: apt-get install {' '.join(missing)}")
    for source in _SOURCES:
        try:
            requests.head(source, timeout=30).raise_for_status()
        except requests.RequestException:
            pytest.skip(f"containers: {source} cannot be reached")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(_CACHE / "lock"):
        return _prepared()


def _prepared() -> Podman:
    conf, storage = _CACHE / "containers.conf", _CACHE / "storage.conf"
    conf.write_text(_CONTAINERS_CONF)
    # /run is empty after a restart of the machine, as podman expects of this folder.
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{_CACHE}/store"\nrunroot = "/run/fx-pipeline-tests"\n'
    )
    (_CACHE / "uv.toml").write_text(_uv_settings())
    podman = Podman({**os.environ, "CONTAINERS_CONF": str(conf), "CONTAINERS_STORAGE_CONF": str(storage)})
    key = hashlib.sha256(" ".join(_MMDEBSTRAP).encode()).hexdigest()[:12]
    base = f"{BASE}:{key}"
    if not podman.has_image(base):
        archive = _CACHE / f"base-{key}.tar"
        if not archive.exists():
            partial = archive.with_suffix(".part.tar")
            made = subprocess.run([*_MMDEBSTRAP, str(partial)], check=False, capture_output=True, text=True)
            if made.returncode != 0:
                pytest.skip(
                    f"containers: mmdebstrap cannot make a base ({made.stderr.strip().splitlines()[-1]})"
                )
            partial.rename(archive)
        podman("import", str(archive), base)
    podman("tag", base, BASE)
    probe = podman.run("run", "--rm", "--network", "none", BASE, "true")
    if probe.returncode != 0:
        pytest.skip(f"containers: podman cannot run any here ({probe.stderr.strip().splitlines()[-1]})")
    return podman


def build_images(podman: Podman) -> tuple[str, str]:
    """Build both targets of the Dockerfile. Return the names of the default one and of `api`."""
    names = "localhost/fx-test", "localhost/fx-test-api"
    with FileLock(_CACHE / "lock"):
        _build_uv(podman)
        arguments = build_arguments({"BASE": BASE, "UV": UV, "VERSION": VERSION, "REVISION": REVISION})
        podman.build(PROJECT, names[0], *arguments)
        podman.build(PROJECT, names[1], *arguments, "--target", "api")
        podman("image", "prune", "--force")  # 1.4 GB of the session before
    return names


def build_services(podman: Podman) -> str:
    """Build the image that replaces those of a registry, once for each version of its files."""
    context = Path(__file__).with_name("services")
    key = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(context.iterdir()))).hexdigest()[:12]
    name = f"localhost/fx-test-services:{key}"
    with FileLock(_CACHE / "lock"):
        if not podman.has_image(name):
            podman.build(context, name, *build_arguments({"BASE": BASE}))
    return name


def _build_uv(podman: Podman) -> None:
    if not podman.has_image(UV):
        context = _CACHE / "uv"
        context.mkdir(exist_ok=True)
        shutil.copy(Path(sys.executable).with_name("uv"), context)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY uv /uv\n")
        podman("build", "--tag", UV, str(context))


def build_arguments(values: dict[str, str]) -> Sequence[str]:
    """Return the options for arguments of a build."""
    return [option for name, value in values.items() for option in ("--build-arg", f"{name}={value}")]


def _uv_settings() -> str:
    lines = ["system-certs = true"]
    if index := options_of_pip().get("index-url"):
        lines.append(f'index-url = "{index}"')
    return "\n".join(lines) + "\n"
