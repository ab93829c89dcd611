"""Why no answer could be read, told by the types of what the HTTP libraries raised.

Their texts are never used: they hold the URL, and the key may stand in it.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator

from urllib3 import exceptions as wire

from fx_pipeline.fixer.errors import BadResponse, FixerError, Unreachable, UntrustedServer


class TooLargeError(Exception):
    """A body has more bytes than are read."""


class TooSlowError(Exception):
    """A response keeps coming, but too slowly to wait for its end."""


# The first that is found counts: one failure is wrapped in others, of which the outer say less.
_REASONS: tuple[tuple[tuple[type[BaseException], ...], type[FixerError], str], ...] = (
    ((TooLargeError,), BadResponse, "the answer is too large"),
    ((TooSlowError,), Unreachable, "the answer came too slowly"),
    ((ssl.SSLCertVerificationError,), UntrustedServer, UntrustedServer.summary),
    ((ssl.SSLError, wire.SSLError), Unreachable, "no secure connection could be made"),
    ((wire.ProxyError,), Unreachable, "the proxy does not connect"),
    ((socket.gaierror, wire.NameResolutionError), Unreachable, "the host's name is unknown"),
    ((ConnectionRefusedError,), Unreachable, "the connection was refused"),
    ((wire.IncompleteRead, http.client.IncompleteRead), BadResponse, "the answer was cut"),
    ((wire.DecodeError,), BadResponse, "the answer cannot be unpacked"),
    ((wire.ReadTimeoutError,), Unreachable, "no answer came in time"),
    ((wire.NewConnectionError,), Unreachable, "no connection could be made"),
    ((wire.ConnectTimeoutError,), Unreachable, "no connection was made in time"),
    ((ConnectionError,), Unreachable, "the connection was broken off"),
    ((http.client.HTTPException,), Unreachable, "the answer is not HTTP"),
)


def explain(failure: Exception) -> tuple[type[FixerError], str]:
    """The meaning of a failed request, and its reason in words."""
    causes = list(_causes(failure))
    for kinds, meaning, reason in _REASONS:
        if any(isinstance(cause, kinds) for cause in causes):
            return meaning, reason
    return Unreachable, f"no answer could be read ({type(failure).__name__})"


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """The exception and all that are inside it: libraries wrap one another's in each of these ways."""
    seen: set[int] = set()
    waiting: list[object] = [failure]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseException) and id(error) not in seen:
            seen.add(id(error))
            yield error
            waiting += [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
