"""Hosts on one machine: network namespaces with a link each to a common bridge, which can be cut."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Host:
    """A network namespace with an address, and a folder for its files."""

    name: str
    address: str
    folder: Path
    link: str

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], **options: Any
    ) -> "subprocess.Popen[str]":
        """Start a process on this host, in a process group of its own."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            env={**os.environ, **environment},
            cwd=self.folder,
            text=True,
            start_new_session=True,
            **options,
        )

    def cut(self) -> None:
        """Take the link down: what is sent gets lost."""
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        """Take the link up again."""
        _ip("link", "set", self.link, "up")


@contextmanager
def hosts(count: int, folder: Path) -> Iterator[tuple[str, list[Host]]]:
    """Yield the address of this machine as the hosts see it, and the hosts."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2: network namespaces")
    mark = secrets.token_hex(3)
    bridge, network = f"fxb{mark}", f"10.{secrets.randbelow(56) + 200}.{secrets.randbelow(256)}"
    with ExitStack() as stack:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            stack.callback(_ip, "link", "del", bridge)
            _ip("addr", "add", f"{network}.1/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            made = []
            for number in range(count):
                host = Host(
                    f"fx{mark}{number}",
                    f"{network}.{number + 11}",
                    folder / str(number),
                    f"fxv{mark}{number}",
                )
                host.folder.mkdir()
                _ip("netns", "add", host.name)
                stack.callback(_ip, "netns", "del", host.name)
                inner = ("-n", host.name)
                _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
                _ip("link", "set", host.link, "master", bridge, "up")
                _ip(*inner, "addr", "add", f"{host.address}/24", "dev", "eth0")
                _ip(*inner, "link", "set", "eth0", "up")
                _ip(*inner, "link", "set", "lo", "up")
                made.append(host)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield f"{network}.1", made


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
