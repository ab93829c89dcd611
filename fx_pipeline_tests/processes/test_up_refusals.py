"""Which ports, addresses and homes `fx-pipeline up` takes, and why it refuses others."""

import socket
from pathlib import Path

import pytest

from fx_pipeline.processes.leftovers import held, watched
from fx_pipeline.processes.up import Addresses, check_ports
from fx_pipeline.settings import SettingsError, load_settings
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.processes.running_up import PORTS


def test_a_second_up_reports_the_first_not_its_ports(tmp_path: Path, free_ports: dict[str, str]) -> None:
    home = tmp_path / "data" / "dagster"
    with held(home), watched(home), socket.create_server(("127.0.0.1", 0)) as listener:
        taken = {**free_ports, "FX_API_PORT": str(listener.getsockname()[1])}
        done = run_command(tmp_path, "up", **taken)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Another fx-pipeline up or code-server is using Dagster's home {home}. Stop it, or set "
        "DAGSTER_HOME to another folder.\n"
    )


@pytest.mark.parametrize(
    ("host", "password", "expected"),
    [
        ("127.0.0.1", "", Addresses("127.0.0.1", "127.0.0.1")),
        ("localhost", "", Addresses("localhost", "localhost")),
        ("0.0.0.0", "", Addresses("0.0.0.0", "127.0.0.1")),  # noqa: S104
        ("0.0.0.0", "secret", Addresses("0.0.0.0", "0.0.0.0")),  # noqa: S104
        ("192.0.2.7", "", Addresses("192.0.2.7", "127.0.0.1")),
    ],
)
def test_only_a_ui_with_a_password_leaves_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, password: str, expected: Addresses
) -> None:
    monkeypatch.setenv("FX_DAGSTER_PASSWORD", password)
    assert Addresses.of(host, load_settings()) == expected


def test_an_address_of_another_machine_is_refused(tmp_path: Path, free_ports: dict[str, str]) -> None:
    done = run_command(tmp_path, "up", "--host", "192.0.2.7", **free_ports)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: 192.0.2.7 cannot be used (Cannot assign requested address): set --host to an address of this "
        "machine.\n"
    )


@pytest.mark.parametrize("name", PORTS)
def test_a_busy_port_is_reported_with_its_setting(
    tmp_path: Path, free_ports: dict[str, str], name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = run_command(tmp_path, "up", **{**free_ports, name: port})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Port {port} cannot be used (Address already in use): "
        f"set {name} to a free port, or stop the program that listens there.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "other", "needed"),
    [
        ("FX_DAGSTER_PORT", "FX_API_PORT", {}),
        ("FX_SANDBOX_PORT", "FX_DAGSTER_PORT", {}),
        ("FX_METRICS_PORT", "FX_SANDBOX_PORT", {}),
        ("FX_LITESTREAM_PORT", "FX_API_PORT", {"FX_REPLICA_URL": "file:///replica"}),
    ],
)
def test_two_settings_with_the_same_port_are_named(
    monkeypatch: pytest.MonkeyPatch,
    free_ports: dict[str, str],
    name: str,
    other: str,
    needed: dict[str, str],
) -> None:
    for setting, value in {**free_ports, name: free_ports[other], **needed}.items():
        monkeypatch.setenv(setting, value)
    with pytest.raises(SettingsError, match=f"^{other} and {name} are both {free_ports[other]}: set one"):
        check_ports(load_settings())


@pytest.mark.parametrize("name", ["FX_SANDBOX_PORT", "FX_LITESTREAM_PORT"])
def test_an_unused_setting_may_have_the_port_of_another(
    monkeypatch: pytest.MonkeyPatch, free_ports: dict[str, str], name: str
) -> None:
    for setting, value in {
        **free_ports,
        name: free_ports["FX_API_PORT"],
        "FIXER_ACCESS_KEY": "a-key",
    }.items():
        monkeypatch.setenv(setting, value)
    check_ports(load_settings())


def test_the_sandboxs_port_may_be_busy_if_a_key_is_set(
    monkeypatch: pytest.MonkeyPatch, free_ports: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name, port in {**free_ports, "FX_SANDBOX_PORT": listener.getsockname()[1]}.items():
            monkeypatch.setenv(name, str(port))
        with pytest.raises(SettingsError, match="set FX_SANDBOX_PORT"):
            check_ports(load_settings())
        monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
        check_ports(load_settings())


def test_an_unwritable_home_is_reported_with_its_setting(tmp_path: Path, free_ports: dict[str, str]) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    done = run_command(tmp_path, "up", DAGSTER_HOME="file/home", **free_ports)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: Dagster's home {tmp_path}/file/home cannot be used (")
    assert line.endswith("or set DAGSTER_HOME to another folder.")


@pytest.mark.slow
def test_a_home_is_used_by_one_up_only(tmp_path: Path, free_ports: dict[str, str]) -> None:
    home = tmp_path / "data" / "dagster"
    with held(home):
        done = run_command(tmp_path, "up", **free_ports)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Another fx-pipeline up or code-server is using Dagster's home {home}. Stop it, or set "
        "DAGSTER_HOME to another folder.\n"
    )
    with held(home):
        pass
