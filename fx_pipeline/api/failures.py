"""Error responses of Datasette's own pages: the API's error body for data, a page for people.

They replace Datasette's own handlers. Those respond with a 500 to many mistakes of a visitor, and print
tracebacks with all local variables, including the request headers.
"""

import errno
import logging
import re
from http import HTTPStatus

from datasette import Request, Response
from datasette.app import Datasette
from datasette.database import QueryInterrupted
from datasette.plugins import pm
from datasette.utils.asgi import Base400
from datasette.views.base import DatasetteError

from fx_pipeline.api.errors import (
    FUNCTION_ACCESS_RESTRICTED,
    INTERNAL_ERROR,
    NO_RATES_AVAILABLE,
    UNEXPECTED,
    ApiError,
    ErrorKind,
    error_document,
)
from fx_pipeline.api.replies import JSON, NO_STORE, RETRY_SECONDS, as_json
from fx_pipeline.sqlite import sqlite3

logger = logging.getLogger(__name__)

# The last one would accept a cookie whose token has been revoked.
REPLACED = ("datasette.handle_exception", "datasette.forbidden", "datasette.actor_auth_cookie")

# Datasette 0.65.5 raises these if it cannot read a parameter or the key of a row.
_UNREADABLE = (ValueError, LookupError, TypeError, OverflowError, sqlite3.ProgrammingError)

SQL_FAILED = "Invalid SQL"
"""The title of Datasette's errors with a message from SQLite."""

UNREADABLE = "This request cannot be read: a parameter or a key has an invalid form."
TOO_SLOW = "This takes too long. Request fewer rows."
NO_PAGE = "There is no page at this address."

_NOT_FOUND = {
    "404": NO_PAGE,
    # Datasette takes the first part of any path for the name of a database.
    "Database not found": NO_PAGE,
    "Table not found": "There is no table or query with this name. /fx lists them.",
    "Record not found": "There is no row with this key.",
}
"""What Datasette says if it finds nothing, and what is true here."""

_HEADINGS = {
    400: "This request is not valid",
    403: "Access denied",
    404: "Page not found",
    500: "Something went wrong",
    503: "Try again later",
}

_DATA = re.compile(r"\.[A-Za-z]\w*$")
"""The end of a path to data, not to a page."""


def heading(kind: ErrorKind) -> str:
    """Return the heading of the page of an error: what happened."""
    if kind is NO_RATES_AVAILABLE:
        return "No rates"
    return _HEADINGS.get(kind.status, "This page cannot be shown")


def replace_handlers() -> None:
    """Remove Datasette's own handlers from this process."""
    for name in REPLACED:
        if pm.has_plugin(name):
            pm.unregister(name=name)


async def failed(datasette: Datasette, request: Request, exception: Exception) -> Response:
    """Return the response for a page that raised."""
    kind, text = _explained(request, exception)
    return await _response(datasette, request, kind, text)


async def refused(datasette: Datasette, request: Request, error: ApiError) -> Response:
    """Return the response for a request that a page cannot answer."""
    return await _response(datasette, request, error.kind, error.info)


async def forbidden(datasette: Datasette, request: Request) -> Response:
    """Return the response for a page that the visitor may not view."""
    return await _response(
        datasette, request, FUNCTION_ACCESS_RESTRICTED, "You do not have permission to see this."
    )


def _explained(request: Request, exception: Exception) -> tuple[ErrorKind, str]:
    """Return the kind and the message for an exception. Messages of SQLite are left out: they quote SQL."""
    kind, text = INTERNAL_ERROR, UNEXPECTED
    if isinstance(exception, ApiError):
        kind, text = exception.kind, exception.info
    elif isinstance(exception, DatasetteError):
        kind, text = _of_datasette(request, exception)
    elif isinstance(exception, QueryInterrupted):
        kind, text = _kind(400), TOO_SLOW
    elif isinstance(exception, Base400):
        text = str(exception.args[0])
        kind, text = _kind(exception.status), _NOT_FOUND.get(text, text)
    elif isinstance(exception, OSError) and exception.errno == errno.ENAMETOOLONG:
        kind, text = _kind(404), "The file name is too long."
    elif isinstance(exception, _UNREADABLE):
        logger.warning("%s cannot be read: %r", request.path, exception)
        kind, text = _kind(400), UNREADABLE
    else:
        logger.error("no response to %s", request.path, exc_info=exception)
    return kind, text


def _of_datasette(request: Request, error: DatasetteError) -> tuple[ErrorKind, str]:
    # Without its own status it is a 500, although its message is about the request.
    kind, text = _kind(error.status if error.status < 500 else 400), str(error.message)
    if error.message_is_html:
        text = TOO_SLOW  # instead of a page about the settings of the server
    elif error.title == SQL_FAILED:
        logger.warning("%s cannot be read: %s", request.path, text)
        kind, text = (
            (_kind(404), "There is no such table.") if "no such table" in text else (kind, UNREADABLE)
        )
    return kind, text


async def _response(datasette: Datasette, request: Request, kind: ErrorKind, text: str) -> Response:
    headers = {"cache-control": NO_STORE}
    if kind.status == 503:
        headers["retry-after"] = str(RETRY_SECONDS)
    if _DATA.search(request.path):
        body = as_json(error_document(kind, text))
        return Response(body, status=kind.status, headers=headers, content_type=JSON)
    context = {"ok": False, "error": text, "status": kind.status, "heading": heading(kind)}
    html = await datasette.render_template([f"{kind.status}.html", "error.html"], context, request=request)
    return Response.html(html, status=kind.status, headers=headers)


def _kind(status: int) -> ErrorKind:
    return ErrorKind(status, status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
