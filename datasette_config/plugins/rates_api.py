"""Datasette's hooks for the API. The code is in fx_pipeline.api."""

import re

from datasette import hookimpl

from fx_pipeline.api import failures, formats, views
from fx_pipeline.api.pages import cells
from fx_pipeline.api.pages import views as pages
from fx_pipeline.api.pages.login import login
from fx_pipeline.api.pages.static import static
from fx_pipeline.api.reading.demonstration import FIXER, SANDBOX
from fx_pipeline.api.tables import api_links, exports, json_rows, parameters


@hookimpl
def register_routes(datasette):
    """Add the API, the pages, the login page and the CSV exports."""
    return [
        *((rf"{re.escape(check.path)}$", views.health_view(check)) for check in datasette.health_checks()),
        (r"/rates/docs$", pages.api_docs),
        (r"/rates(/.*)?$", views.rates),
        (r"/-/login$", login),
        (r"/-/mcp$", views.mcp),
        (r"/-/metrics$", views.metrics),
        (r"/$", pages.home),
        (r"/fx/rates_by_date$", pages.day),
        (r"/(?P<database>fx)/(?P<table>[^/.]+)\.(?P<format>csv)$", exports.table_csv),
        (r"/(?P<database>fx)/(?P<table>[^/]+?)/(?P<pks>[^/]+?)\.(?P<format>csv)$", exports.row_csv),
        (r"/fx\.(?!(json|db)$)[A-Za-z]\w*$", formats.no_format_of_table),
        (r"/fx/[^/.]+\.(?!json$)[A-Za-z]\w*$", formats.no_format_of_table),
        (r"/fx/[^/]+/[^/]+\.(?!(json|blob)$)[A-Za-z]\w*$", formats.no_format_of_table),
        (r"/(currency/[^/]+|coverage|public)\.[A-Za-z]\w*$", formats.no_format_of_page),
        (r"/currency/(?P<code>[^/]+)$", pages.currency),
        (r"/coverage$", pages.coverage),
        (r"/public$", pages.public),
        (r"/static/(?P<path>.*)$", static),
    ]


@hookimpl
def register_output_renderer():
    """Replace Datasette's JSON of tables and queries."""
    return {"extension": "json", "render": json_rows.render}


@hookimpl
def filters_from_request(request, database, table, datasette):
    """Check the parameters of a table."""

    async def check():
        return await parameters.check(datasette, database, table, request)

    return check


@hookimpl
def prepare_jinja2_environment(env, datasette):
    """Add the filters of the templates, and the prefix that begins each of their links."""
    env.filters.update(cells.FILTERS)
    env.filters.update(csv_link=exports.link, page_link=parameters.without_start)
    env.globals.update(most_csv_rows=exports.MOST_ROWS, prefix=datasette.prefix)


@hookimpl
def extra_template_vars(request, datasette, template):
    """Add to each page whether its rates are made up, and to tables of rates the links to the API.

    The login form does not say whether rates are made up.
    """

    async def variables():
        may_know = datasette.is_open() or (request is not None and request.actor is not None)
        source = await datasette.demonstration.source() if may_know else FIXER
        has_links = template in ("table.html", "query.html")
        links = await api_links.api_links(datasette, request) if has_links else {}
        return {"made_up": source is SANDBOX, "source_of_rates": source, **links}

    return variables


@hookimpl
def render_cell(value, column, datasette):
    """Show dates and currencies in tables as links."""
    return cells.cell(value, column, datasette.prefix)


@hookimpl
def skip_csrf(scope):
    """Accept requests to the tools without a CSRF token."""
    # The tools only read, and their clients have no form.
    return scope["path"] == "/-/mcp"


@hookimpl
def handle_exception(datasette, request, exception):
    """Return an error response without a traceback."""
    return failures.failed(datasette, request, exception)


@hookimpl
def forbidden(datasette, request):
    """Return the response for a page that the visitor may not view."""
    return failures.forbidden(datasette, request)
