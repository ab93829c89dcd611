"""Free ports for servers whose port must be known before they start."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Yield ports of 127.0.0.1 that no other process is given while the block runs.

    A socket that is bound but does not listen holds each of them. The kernel then does not choose the port
    for any other socket, but a server that binds this very port with SO_REUSEADDR, as servers do, can listen
    on it (Linux, socket(7)).
    """
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            holder = stack.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
            ports.append(int(holder.getsockname()[1]))
        yield ports


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield one such port."""
    with reserved_ports(1) as [port]:
        yield port
