"""Datasette's hooks for the API: each only hands over to fx_pipeline.api."""

from datasette import hookimpl
from starlette.middleware.gzip import GZipMiddleware

from fx_pipeline.api import access, exports, failures, json_rows, page_views, table_parameters, views
from fx_pipeline.api.canned import CannedQueries
from fx_pipeline.api.direct import Direct
from fx_pipeline.api.edge import Edge
from fx_pipeline.api.http import GZIP_LEVEL


@hookimpl
def register_routes():
    return [
        (r"/rates/docs$", page_views.api_docs),
        (r"/rates(/(?P<path>.*))?$", views.rates),
        (r"/-/health$", views.is_healthy),
        (r"/-/health/freshness$", views.is_fresh),
        (r"/-/login$", access.login),
        (r"/-/mcp$", views.mcp),
        (r"/$", page_views.home),
        (r"/fx/rates_by_date$", page_views.day),
        (r"/(?P<database>fx)/(?P<table>[^/.]+)\.(?P<format>csv)$", exports.table_csv),
        (r"/(?P<database>fx)/(?P<table>[^/]+?)/(?P<pks>[^/]+?)\.(?P<format>csv)$", exports.row_csv),
        (r"/currency/(?P<code>[^/]+)$", page_views.currency),
        (r"/coverage$", page_views.coverage),
        (r"/public$", page_views.public),
        (r"/static/(?P<path>.*)$", page_views.static),
    ]


@hookimpl
def register_output_renderer():
    return {"extension": "json", "render": json_rows.render}


@hookimpl
def filters_from_request(request, database, table, datasette):
    async def check():
        return await table_parameters.check(datasette, database, table, request)

    return check


@hookimpl
def prepare_jinja2_environment(env):
    env.filters.update(page_views.FILTERS)
    env.filters.update(csv_link=exports.link, page_link=table_parameters.without_start)
    env.globals["most_csv_rows"] = exports.MOST_ROWS


@hookimpl
def render_cell(value, column):
    return page_views.cell(value, column)


@hookimpl
def skip_csrf(scope):
    # Its tools only read; what sends it has no form.
    return scope["path"] == "/-/mcp"


@hookimpl
def handle_exception(datasette, request, exception):
    return failures.failed(datasette, request, exception)


@hookimpl
def forbidden(datasette, request):
    return failures.forbidden(datasette, request)


# Last, to be the outermost: nothing that another plugin wraps around Datasette stands in front of the gate.
@hookimpl(trylast=True)
def asgi_wrapper(datasette):
    def wrap(app):
        gate = access.Gate(Direct(CannedQueries(app, datasette), datasette), datasette)
        return Edge(GZipMiddleware(gate, compresslevel=GZIP_LEVEL))

    return wrap
