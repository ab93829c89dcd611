"""Why a server cannot listen on an address, and what to do."""

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
