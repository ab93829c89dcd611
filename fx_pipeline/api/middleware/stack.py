"""The layers around Datasette."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from fx_pipeline import tracing
from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.middleware.access import AccessLog
from fx_pipeline.api.middleware.address import PublicAddress
from fx_pipeline.api.middleware.cache import ResponseCache
from fx_pipeline.api.middleware.counted import Counted
from fx_pipeline.api.middleware.edge import Edge
from fx_pipeline.api.middleware.gate import Gate
from fx_pipeline.api.middleware.normalise import Normalise
from fx_pipeline.api.middleware.shortcut import Shortcut
from fx_pipeline.api.middleware.traced import Traced
from fx_pipeline.api.replies import GZIP_LEVEL
from fx_pipeline.api.tables.canned import CannedQueries


def application(datasette: FxDatasette, *, access_log: bool = False) -> ASGIApp:
    """Return `datasette` behind all layers. A request passes them from the last line up.

    1. `Normalise`: one form of method, path and headers, without the path prefix of FX_API_URL.
    2. `Traced`, and then `AccessLog`, only if they are turned on.
    3. `ResponseCache`: public responses, while nothing is committed. FX_CACHE_MB=0 turns it off. `Counted`
       counts the requests that it passes on, for /-/metrics; it counts the others itself.
    4. `Edge`: allowed methods, closed pages, CORS, unexpected errors.
    5. `GZipMiddleware`.
    6. `PublicAddress`: the scheme of the client, if the client used FX_API_URL.
    7. `Gate`: takes the token out of the request, and checks it.
    8. `Shortcut`: anonymous requests for rates, without Datasette's router.
    9. `CannedQueries`: refuses parameters that a canned query would misread.
    """
    app: ASGIApp = datasette.app()
    app = CannedQueries(app, datasette)
    app = Shortcut(app, datasette)
    app = Gate(app, datasette)
    app = PublicAddress(app, datasette.hosts)
    app = GZipMiddleware(app, compresslevel=GZIP_LEVEL)
    app = Edge(app, datasette.operation_names)
    counted = Counted(app, datasette.counters, datasette.operation_names)
    if megabytes := datasette.fx_settings.fx_cache_mb:
        app = ResponseCache(app, counted, datasette, megabytes * 2**20)
    else:
        app = counted
    if access_log:
        app = AccessLog(app, datasette.operation_names)
    if tracing.is_on():
        app = Traced(app, datasette.operation_names)
    return Normalise(app, datasette.prefix)
