"""Every error of the API: Fixer's code and type, a real HTTP status, and one body for all clients.

The codes are Fixer's (its documentation, "Error codes"). If Fixer has none, the code is the HTTP status.
"""

from typing import NamedTuple


class ErrorKind(NamedTuple):
    """One kind of error: the HTTP status, and Fixer's code and type."""

    status: int
    code: int
    type: str


INVALID_API_FUNCTION = ErrorKind(404, 103, "invalid_api_function")
METHOD_NOT_ALLOWED = ErrorKind(405, 103, "invalid_api_function")
MISSING_ACCESS_KEY = ErrorKind(401, 101, "missing_access_key")
INVALID_ACCESS_KEY = ErrorKind(401, 101, "invalid_access_key")
FUNCTION_ACCESS_RESTRICTED = ErrorKind(403, 105, "function_access_restricted")
NO_RATES_AVAILABLE = ErrorKind(404, 106, "no_rates_available")
INVALID_BASE_CURRENCY = ErrorKind(400, 201, "invalid_base_currency")
INVALID_CURRENCY_CODES = ErrorKind(400, 202, "invalid_currency_codes")
INVALID_DATE = ErrorKind(400, 302, "invalid_date")
INVALID_FROM_CURRENCY = ErrorKind(400, 402, "invalid_from_currency")
INVALID_TO_CURRENCY = ErrorKind(400, 402, "invalid_to_currency")
INVALID_CONVERSION_AMOUNT = ErrorKind(400, 403, "invalid_conversion_amount")
NO_TIMEFRAME_SUPPLIED = ErrorKind(400, 501, "no_timeframe_supplied")
INVALID_START_DATE = ErrorKind(400, 502, "invalid_start_date")
INVALID_END_DATE = ErrorKind(400, 503, "invalid_end_date")
INVALID_TIME_FRAME = ErrorKind(400, 504, "invalid_time_frame")
TIME_FRAME_TOO_LONG = ErrorKind(400, 505, "time_frame_too_long")
INVALID_PARAMETER = ErrorKind(400, 400, "invalid_parameter")
PAYLOAD_TOO_LARGE = ErrorKind(413, 413, "payload_too_large")
URI_TOO_LONG = ErrorKind(414, 414, "uri_too_long")
INTERNAL_ERROR = ErrorKind(500, 500, "internal_error")
SERVER_BUSY = ErrorKind(503, 503, "server_busy")
DATABASE_UNAVAILABLE = ErrorKind(503, 503, "database_unavailable")

KINDS = tuple(value for value in dict(globals()).values() if isinstance(value, ErrorKind))
"""Every kind of error."""

UNEXPECTED = "Something went wrong on the server. The error has been logged."
"""The message for an error inside the server."""


class ApiError(Exception):
    """A request that cannot be answered: the kind of error, and a message that says why."""

    def __init__(self, kind: ErrorKind, info: str) -> None:
        super().__init__(info)
        self.kind = kind
        self.info = info


def error_document(kind: ErrorKind, info: str) -> dict[str, object]:
    """Return the body of an error: `error` for clients of Fixer, `status` and `message` for others."""
    return {
        "success": False,
        "status": kind.status,
        "message": info,
        "error": {"code": kind.code, "type": kind.type, "info": info},
    }
