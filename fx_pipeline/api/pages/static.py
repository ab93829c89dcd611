"""The view of ``/static/``: style sheets and scripts."""

from datasette import NotFound, Request, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from fx_pipeline.api import failures
from fx_pipeline.api.datasette import CONFIG, FxDatasette
from fx_pipeline.api.replies import REVALIDATE

_files = StaticFiles(directory=CONFIG / "static")


async def static(
    request: Request, datasette: FxDatasette, scope: Scope, receive: Receive, send: Send
) -> Response | None:
    """Send a file with an ETag. Browsers revalidate it on each use, as they do pages."""

    async def send_with_cache_control(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"cache-control", REVALIDATE.encode()))
        await send(message)

    file_scope = {**scope, "path": "/" + request.url_vars["path"], "root_path": ""}
    try:
        await _files(file_scope, receive, send_with_cache_control)
    except HTTPException:
        # Not raised, because Datasette would redirect a path with a percent sign.
        return await failures.failed(datasette, request, NotFound("There is no such file."))
    return None


static._datasette_static = True  # type: ignore[attr-defined]  # Datasette's mark for views without secrets
