"""JSON from a process that Dagster starts, and from its runs."""

import logging
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.execution import context_creation_job
from dagster._core.log_manager import get_log_record_metadata, has_log_record_metadata
from dagster._utils.log import configure_loggers

from fx_pipeline.logs import formatter, is_json


def log_as_configured() -> None:
    """Let Dagster's own logger and the runs of this process log JSON if the process does.

    The daemon and the webserver start code servers without the option --log-format, whose JSON also has other
    names for the fields. The console logger of a run is fixed too, unless its config names another one.
    """
    if is_json():
        configure_loggers(formatter="json", log_level="WARNING")
        for handler in logging.getLogger("dagster").handlers:
            handler.setFormatter(formatter())
        vars(context_creation_job)["default_system_loggers"] = _loggers


def _loggers(
    instance: dg.DagsterInstance | None,
) -> Sequence[tuple[dg.LoggerDefinition, Mapping[str, object]]]:
    level = (instance.python_log_level if instance else None) or "DEBUG"
    return [(dg.LoggerDefinition(_logger), {"log_level": level})]


def _logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("dagster", context.logger_config["log_level"])
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    handler.addFilter(_add_fields)
    logger.addHandler(handler)
    return logger


def _add_fields(record: logging.LogRecord) -> bool:
    if has_log_record_metadata(record):
        metadata = get_log_record_metadata(record)
        record.run = metadata["run_id"]
        event = metadata["dagster_event"]
        if event is not None and event.partition is not None:
            record.date = event.partition
    return True
