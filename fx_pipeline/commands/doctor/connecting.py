"""Connects to a service, to see whether it is there."""

import socket

from fx_pipeline.commands.doctor.findings import Finding, fault, ok

CONNECT_SECONDS = 2.5


def reached(check: str, name: str, address: tuple[str, int], remedy: str) -> Finding:
    """Connect to an address, and send nothing. `name` is what the finding says instead: it may be secret."""
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:  # its text may contain a part of the address
        reason = "its name cannot be resolved" if isinstance(error, socket.gaierror) else "it does not answer"
        return fault(check, f"{name} cannot be reached: {reason}", remedy)
    return ok(check, f"{name} accepts connections")
