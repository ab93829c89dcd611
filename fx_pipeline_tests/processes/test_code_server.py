"""Where the code server of `up` listens: in Dagster's home, or a private folder if its path is too long."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fx_pipeline.dagster_names import LOCATION
from fx_pipeline.processes.code_server import MAX_SOCKET_PATH, placed


@pytest.mark.parametrize("length", [20, 2 * MAX_SOCKET_PATH])
def test_the_workspace_file_leads_to_the_socket(length: int) -> None:
    with TemporaryDirectory() as folder:
        home = Path(folder) / ("h" * length)
        home.mkdir()
        with placed(home) as server:
            is_short = length < MAX_SOCKET_PATH
            assert (server.socket.parent == home) == is_short
            if not is_short:
                assert server.socket.parent.stat().st_mode & 0o777 == 0o700
            assert json.loads(server.workspace.read_text()) == {
                "load_from": [{"grpc_server": {"socket": str(server.socket), "location_name": LOCATION}}]
            }
            assert str(server.socket) in server.command
            assert not server.listens()
        assert list(home.iterdir()) == []
        assert not server.socket.exists()
        assert is_short or not server.socket.parent.exists()


def test_the_next_start_removes_the_folder_of_a_killed_one() -> None:
    with TemporaryDirectory() as folder:
        home = Path(folder) / ("h" * 2 * MAX_SOCKET_PATH)
        home.mkdir()
        code = (
            "import os, pathlib, signal, sys; from fx_pipeline.processes.code_server import placed\n"
            "with placed(pathlib.Path(sys.argv[1])) as server:\n"
            "    server.socket.touch()\n"
            "    os.kill(os.getpid(), signal.SIGKILL)"
        )
        subprocess.run([sys.executable, "-c", code, str(home)], check=False)
        [origin] = json.loads((home / "code_server.yaml").read_text())["load_from"]
        left = Path(origin["grpc_server"]["socket"])
        assert left.exists()
        with placed(home) as server:
            assert not left.parent.exists()
            assert server.socket != left


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"load_from": [{"grpc_server": {"socket": 1}}]}'])
def test_an_unreadable_workspace_file_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "code_server.yaml").write_text(text)
    with placed(tmp_path) as server:
        assert json.loads(server.workspace.read_text())["load_from"]
