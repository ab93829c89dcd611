"""The code server of `fx-pipeline up`: one process with the definitions, for the webserver and the daemon.

Without it, each of them would run its own. The daemon would even replace its code server every 65 seconds.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fx_pipeline.dagster_names import LOCATION
from fx_pipeline.logs import is_json

MAX_SOCKET_PATH = 100
"""Bytes. The system allows 107 on Linux and 103 on macOS."""

SERVED = [
    *("--module-name", "fx_pipeline.definitions"),
    *("--location-name", LOCATION),
    # If the definitions cannot be loaded, the UI shows why.
    "--lazy-load-user-code",
    "--use-python-environment-entry-point",
    *("--log-level", "warning"),
]
"""The options of `dagster api grpc` besides its address."""


def log_options() -> list[str]:
    """Return Dagster's option for the format of this process's log."""
    return ["--log-format", "json"] if is_json() else []


PREFIX = "fx-pipeline-"
"""Begins the name of the temporary folder of a socket."""


@dataclass(frozen=True, slots=True)
class CodeServer:
    """Where the code server listens, and the workspace file that leads to it."""

    socket: Path
    workspace: Path

    @property
    def command(self) -> list[str]:
        """The command that runs it, in Dagster's home."""
        return [
            *(sys.executable, "-m", "dagster", "api", "grpc", "--socket", str(self.socket)),
            *SERVED,
            *log_options(),
        ]

    def listens(self) -> bool:
        """Return whether it accepts connections."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True


@contextmanager
def placed(home: Path) -> Iterator[CodeServer]:
    """Yield a code server whose files are in Dagster's home, and remove them.

    Its socket has the permissions of the home: a TCP port would let every user of the machine start runs.
    """
    with ExitStack() as stack:
        address, workspace = home / "code_server.sock", home / "code_server.yaml"
        _remove_leftover(workspace)
        if len(os.fsencode(address)) > MAX_SOCKET_PATH:
            folder = stack.enter_context(TemporaryDirectory(prefix=PREFIX))
            address = Path(folder) / address.name
        origin = {"grpc_server": {"socket": str(address), "location_name": LOCATION}}
        workspace.write_text(json.dumps({"load_from": [origin]}), encoding="utf-8")  # JSON is YAML
        try:
            yield CodeServer(address, workspace)
        finally:
            workspace.unlink(missing_ok=True)
            address.unlink(missing_ok=True)


def _remove_leftover(workspace: Path) -> None:
    """Remove the temporary folder of an `up` that was killed. Its workspace file leads to it."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        [origin] = json.loads(workspace.read_text(encoding="utf-8"))["load_from"]
        address = Path(origin["grpc_server"]["socket"])
        if address.parent.name.startswith(PREFIX):
            address.unlink(missing_ok=True)
            address.parent.rmdir()
