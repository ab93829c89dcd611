"""Says why no response could be read, from the types of the exceptions that the HTTP libraries raised.

Their texts are never used: they contain the URL, which may contain the key.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator

from urllib3 import exceptions as wire

from fx_pipeline.fixer.errors import (
    BadResponse,
    FixerError,
    InsecureConnection,
    UnknownHost,
    Unreachable,
    UntrustedServer,
)


class TooLargeError(Exception):
    """A body exceeds the size limit."""


class TooSlowError(Exception):
    """A response is still arriving at its deadline."""


# The first match counts. One exception wraps another, and the outer ones say less.
_REASONS: tuple[tuple[tuple[type[BaseException], ...], type[FixerError], str], ...] = (
    ((TooLargeError,), BadResponse, "the response is too large"),
    ((TooSlowError,), Unreachable, "the response came too slowly"),
    ((ssl.SSLCertVerificationError,), UntrustedServer, UntrustedServer.summary),
    ((ssl.SSLError, wire.SSLError), InsecureConnection, InsecureConnection.summary),
    ((wire.ProxyError,), Unreachable, "the proxy did not connect"),
    ((socket.gaierror, wire.NameResolutionError), UnknownHost, UnknownHost.summary),
    ((ConnectionRefusedError,), Unreachable, "the connection was refused"),
    ((wire.IncompleteRead, http.client.IncompleteRead), BadResponse, "the response was cut off"),
    ((wire.DecodeError,), BadResponse, "the response cannot be decompressed"),
    ((wire.ReadTimeoutError,), Unreachable, "no response in time"),
    ((wire.NewConnectionError,), Unreachable, "no connection could be made"),
    ((wire.ConnectTimeoutError,), Unreachable, "no connection in time"),
    ((ConnectionError,), Unreachable, "the connection was lost"),
    ((http.client.HTTPException,), Unreachable, "the response is not HTTP"),
)


def explain(failure: Exception) -> tuple[type[FixerError], str]:
    """Return the error class of a failed request, and the reason."""
    causes = list(_causes(failure))
    for kinds, meaning, reason in _REASONS:
        if any(isinstance(cause, kinds) for cause in causes):
            return meaning, reason
    return Unreachable, f"the response could not be read ({type(failure).__name__})"


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all that it wraps, in each way that libraries wrap exceptions."""
    seen: set[int] = set()
    waiting: list[object] = [failure]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseException) and id(error) not in seen:
            seen.add(id(error))
            yield error
            waiting += [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
