"""Servers for replicas in the tests: rclone, which speaks S3 and SFTP over a folder of plain files."""

import os
import socket
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for

RCLONE = Path(sysconfig.get_path("scripts")) / "rclone"

KEY, SECRET = "test-key", "s3cret-of-the-store"


@dataclass
class ObjectStore:
    """A running server with one bucket, `fx`."""

    port: int
    folder: Path
    host: str = "127.0.0.1"
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def credentials(self) -> Mapping[str, str]:
        """The environment variables that a client needs."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}

    def url(self, path: str = "replica") -> str:
        """Return a value for FX_REPLICA_URL."""
        return f"s3://fx/{path}?endpoint=http://{self.host}:{self.port}"

    def address(self, path: str = "replica") -> ReplicaAddress:
        return ReplicaAddress.parse(self.url(path))

    def files(self, path: str = "replica") -> Path:
        """Return the folder with what was stored under a path."""
        return self.folder / "fx" / path

    def start(self) -> None:
        """Start the server and wait until it listens."""
        (self.folder / "fx").mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                *(str(RCLONE), "serve", "s3", str(self.folder), "--config", os.devnull),
                *("--addr", f"{self.host}:{self.port}", "--force-path-style", "--vfs-cache-mode", "off"),
            ],
            env={**os.environ, "RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"'},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._listens, bool)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the S3 server ended"
        return is_listening(self.port, self.host)

    def stop(self) -> None:
        """End the server. What it stored stays."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def running_store(folder: Path) -> Iterator[ObjectStore]:
    """Run a server that stores in this folder."""
    with reserved_port() as port:
        store = ObjectStore(port, folder)
        store.start()
        try:
            yield store
        finally:
            store.stop()


@contextmanager
def running_sftp(folder: Path) -> Iterator[str]:
    """Run an SFTP server that stores in this folder, and yield a value for FX_REPLICA_URL."""
    folder.mkdir()
    with reserved_port() as port:
        command = [str(RCLONE), "serve", "sftp", str(folder), "--config", os.devnull]
        command += ["--addr", f"127.0.0.1:{port}", "--user", KEY, "--pass", SECRET]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(lambda: is_listening(port))
                yield f"sftp://{KEY}:{SECRET}@127.0.0.1:{port}/replica"
            finally:
                process.kill()


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server accepts connections at a port."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((host, port)) == 0
