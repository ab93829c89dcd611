"""The address that a server listens on: bind it, or say why that fails and what to do."""

import errno
import os
import socket


def cannot_listen(server: str, host: str, port: int, setting: str, error: OSError) -> str:
    """Return the message for a server that cannot listen. `setting` is that of its port."""
    # The text of an error of asyncio or `create_server` repeats the address as a tuple.
    number = error.errno
    reason = error.strerror if number is None or isinstance(error, socket.gaierror) else os.strerror(number)
    remedy = (
        f"Set --port or {setting} to a free port"
        if number in (errno.EADDRINUSE, errno.EACCES)
        else "Set --host to an address of this machine"
    )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{server} cannot listen on {address}: {reason}. {remedy}."


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address. Raise OSError if that fails."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # A port in TIME_WAIT after its last connection is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
