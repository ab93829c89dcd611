"""Builds of the package, and installations of a wheel into new virtual environments."""

import ast
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fx_pipeline.settings import PROJECT

UV = str(Path(sys.executable).with_name("uv"))

_SAME_IN_UV = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
"""Options of pip, and the variables that mean the same to uv."""


def build(folder: Path, *options: str, source: Path = PROJECT) -> None:
    """Build into `folder`: by default the sdist, and the wheel from it."""
    quiet = ["--quiet", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([UV, "build", *quiet, *options, "--out-dir", str(folder), str(source)], check=True)


def wheel_in(folder: Path) -> Path:
    """Return the only wheel in a folder."""
    [wheel] = folder.glob("*.whl")
    return wheel


def contents_of_wheel(folder: Path) -> dict[str, bytes]:
    """Return the files of the wheel in a folder."""
    with zipfile.ZipFile(wheel_in(folder)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpacked_sdist(folder: Path) -> Path:
    """Unpack the sdist in a folder next to it, and return the project's folder."""
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


def install(folder: Path, lock: str, wheel: Path) -> Path:
    """Install a wheel with the packages of a lock into a new environment. Return its programs' folder."""
    environment = _environment()
    subprocess.run(
        [UV, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, env=environment
    )
    # Compiling takes 32 s of CPU time. Otherwise, each process that starts would compile Dagster.
    options = ["--quiet", "--no-deps", "--compile-bytecode", "--python", str(folder / "bin" / "python")]
    for what in (["--require-hashes", "--requirement", str(PROJECT / lock)], [str(wheel)]):
        subprocess.run([UV, "pip", "install", *options, *what], check=True, env=environment)
    return folder / "bin"


def options_of_pip() -> dict[str, str]:
    """Return the options of pip on this machine, such as `index-url`. uv does not read them."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.partition("=") for line in listed.splitlines())
    return {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, _, value in lines}


def _environment() -> Mapping[str, str]:
    """Return the environment for uv."""
    found = options_of_pip()
    return {**{_SAME_IN_UV[name]: found[name] for name in _SAME_IN_UV.keys() & found.keys()}, **os.environ}
