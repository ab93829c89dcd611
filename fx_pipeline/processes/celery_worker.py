"""The Celery app of a worker that executes Dagster's runs.

Start the worker with `celery --app fx_pipeline.processes.celery_worker worker --queues writer`: Dagster's own
`dagster-celery worker start` does not pass SIGTERM on to it. The broker is that of `run_launcher` in
dagster.yaml.
"""

import logging

from celery import Celery
from celery.signals import setup_logging
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task

from fx_pipeline.logs import configure_logging, is_json
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.settings import SettingsError, load_settings


def _app() -> Celery:
    """Return the app of the run launcher. Raise SettingsError if that is not Celery's."""
    settings = load_settings()
    configure_logging(settings)
    if is_json():
        setup_logging.connect(_log_as_configured, weak=False)  # then Celery sets nothing up itself
    home = settings.dagster_home
    with open_instance(home) as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        raise SettingsError(
            f"{home / 'dagster.yaml'} has no CeleryRunLauncher: use deploy/compose/dagster-celery.yaml."
        )
    create_execute_job_task(launcher.celery)
    return launcher.celery


def _log_as_configured(**_: object) -> None:
    configure_logging(load_settings())
    logging.getLogger("celery").setLevel(logging.INFO)


app = _app()
