"""The layers that each request passes before Datasette."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.middleware.cache import ResponseCache
from fx_pipeline.api.middleware.edge import Edge
from fx_pipeline.api.middleware.gate import Gate
from fx_pipeline.api.middleware.shortcut import Shortcut
from fx_pipeline.api.replies import GZIP_LEVEL
from fx_pipeline.api.tables.canned import CannedQueries


def application(datasette: FxDatasette) -> ASGIApp:
    """Return Datasette behind all layers. A request passes them from the last line up."""
    app: ASGIApp = datasette.app()
    app = CannedQueries(app, datasette)
    app = Shortcut(app, datasette)
    app = Gate(app, datasette)
    app = GZipMiddleware(app, compresslevel=GZIP_LEVEL)
    app = Edge(app)
    if megabytes := datasette.fx_settings.fx_cache_mb:
        app = ResponseCache(app, datasette, megabytes * 2**20)
    return app
