"""What Datasette's own pages answer when they cannot: the API's error body for data, a page for people.

Datasette's own handlers are replaced, because they answer 500 to much that a visitor got wrong, and print
tracebacks with all local variables, request headers among them.
"""

import logging
import sqlite3
from http import HTTPStatus

from datasette.app import Datasette
from datasette.plugins import pm
from datasette.utils.asgi import Base400, Request, Response
from datasette.views.base import DatasetteError

from fx_pipeline.api.bodies import as_json
from fx_pipeline.api.errors import FUNCTION_ACCESS_RESTRICTED, INTERNAL_ERROR, Kind, error_document
from fx_pipeline.api.http import JSON, NO_STORE

logger = logging.getLogger(__name__)

# The last would believe a cookie whose token has been revoked.
REPLACED = ("datasette.handle_exception", "datasette.forbidden", "datasette.actor_auth_cookie")

# What Datasette 0.65.5 lets escape when it cannot read a parameter or the key of a row.
_UNREADABLE = (ValueError, LookupError, TypeError, sqlite3.ProgrammingError)


def replace_handlers() -> None:
    """Take Datasette's own handlers out of this process."""
    for name in REPLACED:
        if pm.has_plugin(name):
            pm.unregister(name=name)


async def failed(datasette: Datasette, request: Request, exception: Exception) -> Response:
    """The answer where a page raised."""
    if isinstance(exception, DatasetteError):
        # Its status is 500 wherever Datasette gave none, and what it says is about the request all the same.
        kind = _kind(exception.status if exception.status < 500 else 400)
        # Some of its messages are HTML, for pages that explain how to change the server.
        text = "This takes longer than is allowed." if exception.message_is_html else str(exception.message)
    elif isinstance(exception, Base400):
        kind, text = _kind(exception.status), str(exception.args[0])
    elif isinstance(exception, _UNREADABLE):
        logger.warning("%s cannot be read: %r", request.path, exception)
        kind, text = (
            _kind(400),
            "This request cannot be read: a parameter or a key has a form that is not known.",
        )
    else:
        logger.error("no answer to %s", request.path, exc_info=exception)
        kind, text = INTERNAL_ERROR, "Something went wrong here. It has been logged."
    return await _response(datasette, request, kind, text)


async def forbidden(datasette: Datasette, request: Request) -> Response:
    """The answer where a page may not be seen."""
    return await _response(
        datasette, request, FUNCTION_ACCESS_RESTRICTED, "You do not have the right to see this."
    )


async def _response(datasette: Datasette, request: Request, kind: Kind, text: str) -> Response:
    headers = {"cache-control": NO_STORE}
    if request.path.endswith((".json", ".csv")):
        body = as_json(error_document(kind, text))
        return Response(body, status=kind.status, headers=headers, content_type=JSON)
    title = HTTPStatus(kind.status).phrase
    context = {"ok": False, "error": text, "status": kind.status, "title": title}
    html = await datasette.render_template([f"{kind.status}.html", "error.html"], context, request=request)
    return Response.html(html, status=kind.status, headers=headers)


def _kind(status: int) -> Kind:
    return Kind(status, status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
