"""The API as an ASGI application.

`server.serve` runs it. So does ``uvicorn --factory fx_pipeline.api.app:create_app``, with
``--http fx_pipeline.api.metrics.protocol:CountedProtocol`` if no proxy bounds the requests.
Each worker builds its own: an instance that ran a query before a fork hangs.
"""

from starlette.types import ASGIApp

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.metrics.counters import of_process
from fx_pipeline.api.middleware.stack import application
from fx_pipeline.api.reading.served import ServeError, check_database
from fx_pipeline.api.sentry import report_errors
from fx_pipeline.api.server import logs_requests, prepare_worker
from fx_pipeline.installed import IncompleteError, check_files
from fx_pipeline.logs import configure_logging
from fx_pipeline.settings import SettingsError, load_settings
from fx_pipeline.tracing import start_tracing


def create_app() -> ASGIApp:
    """Return the application that the settings describe. Exit with one line if that is impossible."""
    try:
        check_files()
        settings = load_settings()
        configure_logging(settings, access_log=logs_requests())
        check_database(settings.fx_database)
        start_tracing(settings)
        if settings.sentry_dsn:
            report_errors(settings.sentry_dsn.get_secret_value())
    except (IncompleteError, SettingsError, ServeError) as error:
        raise SystemExit(f"fx-pipeline: {error}") from None
    prepare_worker()
    return application(FxDatasette(settings, counters=of_process()), access_log=logs_requests())
