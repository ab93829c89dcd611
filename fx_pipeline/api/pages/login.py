"""The login page, ``/-/login``: takes a token, or shows why the requested page was refused."""

from typing import NamedTuple

from datasette import Request, Response

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.errors import INVALID_ACCESS_KEY, ErrorKind
from fx_pipeline.api.replies import NO_STORE


class Refusal(NamedTuple):
    """Why a request was refused, and the path that it requested."""

    kind: ErrorKind
    requested: str


async def login(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/-/login``."""
    next_path = request.args.get("next") or f"{datasette.prefix}/"
    return await _page(request, datasette, next_path=next_path, is_invalid=False)


async def refused(request: Request, datasette: FxDatasette, refusal: Refusal) -> Response:
    """Return the login page in place of the requested page, with the headers of Datasette's router."""
    await datasette.invoke_startup()
    # The form needs no CSRF token, but Datasette's context asks for a function that makes one.
    plain = Request({**request.scope, "csrftoken": str}, None)
    response = await _page(
        plain, datasette, next_path=refusal.requested, is_invalid=refusal.kind is INVALID_ACCESS_KEY
    )
    response.status = refusal.kind.status
    if "cookie" in request.headers or "authorization" in request.headers:
        response.headers["cache-control"] = f"private, {NO_STORE}"
    response.headers.update({"www-authenticate": "Bearer", "vary": "Cookie, Authorization"})
    return response


async def _page(request: Request, datasette: FxDatasette, *, next_path: str, is_invalid: bool) -> Response:
    context = {"required": datasette.tokens.are_required(), "invalid": is_invalid, "next": next_path}
    html = await datasette.render_template("login.html", context, request=request)
    return Response.html(html, headers={"cache-control": NO_STORE})
