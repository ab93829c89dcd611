"""deploy/systemd: systemd accepts the units, and they use what exists."""

import configparser
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dotenv import dotenv_values

from fx_pipeline_tests.deploy.used import DEPLOY, SHELLCHECK, check_command, check_variables

SYSTEMD = DEPLOY / "systemd"
PROGRAM = "/opt/fx-pipeline/bin/fx-pipeline"
UNITS = sorted(path.name for path in SYSTEMD.glob("*.service"))
MAX_EXPOSURE = 1.3
"""Of 10, as `systemd-analyze security` counts. A service without any restriction has 9.6."""


def parsed(file: Path) -> dict[str, dict[str, str]]:
    """Return the sections of a unit; of a key that appears twice, the last value."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(file.read_text())
    return {name: dict(section) for name, section in parser.items()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy the units, as cloud-init does. Their program is another one that exists."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    folder = tmp_path_factory.mktemp("units")
    shutil.copytree(SYSTEMD, folder, dirs_exist_ok=True)
    for name in UNITS:
        (folder / name).write_text((folder / name).read_text().replace(PROGRAM, "/bin/true"))
    yield folder


def analyze(folder: Path, *arguments: str) -> str:
    environment = {"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "SYSTEMD_LOG_LEVEL": "warning"}
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_accepts_the_units(installed: Path) -> None:
    names = sorted(path.name for path in installed.glob("*.*") if path.suffix in (".service", ".target"))
    output = analyze(installed, "verify", "--man=no", *(str(installed / name) for name in names))
    assert str(installed) not in output, output


@pytest.mark.parametrize("name", UNITS)
def test_units_are_sandboxed(installed: Path, name: str) -> None:
    output = analyze(installed, "security", "--offline=true", "--no-pager", name)
    [exposure] = re.findall(rf"exposure level for {name}: ([\d.]+)", output)
    assert float(exposure) <= MAX_EXPOSURE


def test_each_role_has_a_unit_with_a_command_that_exists() -> None:
    commands = {}
    for name in UNITS:
        program, *arguments = shlex.split(parsed(SYSTEMD / name)["Service"]["ExecStart"])
        assert program == PROGRAM
        check_command(arguments)
        commands[name] = arguments
    assert commands == {
        "fx-pipeline-api.service": ["serve"],
        "fx-pipeline-code-server.service": ["code-server"],
        "fx-pipeline-daemon.service": ["daemon"],
        "fx-pipeline-replica.service": ["replica"],
        "fx-pipeline-replicate.service": ["replicate"],
        "fx-pipeline-up.service": ["up"],
        "fx-pipeline-watch.service": ["watch"],
        "fx-pipeline-webserver.service": ["webserver"],
    }


def test_variables_exist() -> None:
    for file in SYSTEMD.rglob("*"):
        if file.suffix in (".service", ".conf") and file.name != "sysusers.conf":
            service = parsed(file)["Service"]
            check_variables(shlex.split(service.get("UnsetEnvironment", "")))
            assignments = shlex.split(service.get("Environment", ""))
            check_variables(one.partition("=")[0] for one in assignments)
    check_variables(dotenv_values(SYSTEMD / "env"))
    check_variables(re.findall(r"^# ([A-Z_]+)=", (SYSTEMD / "env").read_text(), re.MULTILINE))


def test_state_is_where_the_units_may_write() -> None:
    common = parsed(SYSTEMD / "fx-pipeline-.service.d" / "common.conf")["Service"]
    state = Path("/var/lib") / common["StateDirectory"]
    assert common["WorkingDirectory"] == str(state)
    settings = dotenv_values(SYSTEMD / "env")
    for name in ("FX_DATABASE", "DAGSTER_HOME"):
        assert state in Path(settings[name] or "").parents
    user, *_ = shlex.split((SYSTEMD / "sysusers.conf").read_text())[1:]
    assert common["User"] == user


def test_shellcheck_accepts_the_wrapper() -> None:
    subprocess.run([SHELLCHECK, SYSTEMD / "fx-pipeline"], check=True)
