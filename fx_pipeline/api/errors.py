"""Every error the API answers with: Fixer's code and type, a real HTTP status, one body for every client.

The codes are Fixer's (its documentation, "Error codes"); where Fixer has none, the code is the HTTP status.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of error: the HTTP status, and Fixer's code and type."""

    status: int
    code: int
    type: str


INVALID_API_FUNCTION = Kind(404, 103, "invalid_api_function")
METHOD_NOT_ALLOWED = Kind(405, 103, "invalid_api_function")
MISSING_ACCESS_KEY = Kind(401, 101, "missing_access_key")
INVALID_ACCESS_KEY = Kind(401, 101, "invalid_access_key")
FUNCTION_ACCESS_RESTRICTED = Kind(403, 105, "function_access_restricted")
NO_RATES_AVAILABLE = Kind(404, 106, "no_rates_available")
INVALID_BASE_CURRENCY = Kind(400, 201, "invalid_base_currency")
INVALID_CURRENCY_CODES = Kind(400, 202, "invalid_currency_codes")
INVALID_DATE = Kind(400, 302, "invalid_date")
INVALID_FROM_CURRENCY = Kind(400, 402, "invalid_from_currency")
INVALID_TO_CURRENCY = Kind(400, 402, "invalid_to_currency")
INVALID_CONVERSION_AMOUNT = Kind(400, 403, "invalid_conversion_amount")
NO_TIMEFRAME_SUPPLIED = Kind(400, 501, "no_timeframe_supplied")
INVALID_START_DATE = Kind(400, 502, "invalid_start_date")
INVALID_END_DATE = Kind(400, 503, "invalid_end_date")
INVALID_TIME_FRAME = Kind(400, 504, "invalid_time_frame")
TIME_FRAME_TOO_LONG = Kind(400, 505, "time_frame_too_long")
INVALID_PARAMETER = Kind(400, 400, "invalid_parameter")
PAYLOAD_TOO_LARGE = Kind(413, 413, "payload_too_large")
URI_TOO_LONG = Kind(414, 414, "uri_too_long")
INTERNAL_ERROR = Kind(500, 500, "internal_error")
SERVER_BUSY = Kind(503, 503, "server_busy")
DATABASE_UNAVAILABLE = Kind(503, 503, "database_unavailable")


class ApiError(Exception):
    """A request that cannot be answered: its kind, and a sentence that says what was wrong with it."""

    def __init__(self, kind: Kind, info: str) -> None:
        super().__init__(info)
        self.kind = kind
        self.info = info


def error_document(kind: Kind, info: str) -> dict[str, object]:
    """The body of an error, as clients of Fixer (`error`) and of others (`status`, `message`) read it."""
    return {
        "success": False,
        "status": kind.status,
        "message": info,
        "error": {"code": kind.code, "type": kind.type, "info": info},
    }
