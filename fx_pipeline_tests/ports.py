"""Free ports, for servers whose port must be known before they start."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Yield ports of 127.0.0.1 that the kernel gives to no other process while the block runs.

    Each is held by a socket that is bound but does not listen. A server that binds the same port with
    SO_REUSEADDR, as servers do, can still listen on it (Linux, socket(7)).
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
    """Yield one port of 127.0.0.1 that the kernel gives to no other process."""
    with reserved_ports(1) as [port]:
        yield port
