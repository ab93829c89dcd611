"""Keeps tokens out of uvicorn's access log, and reports errors to Sentry without them.

The gate takes tokens out of a request before anything can fail. Two places remain: the access log, where
uvicorn writes the request as it was sent, and the data that Sentry collects by default.
"""

# ruff: noqa: PLC0415  # Sentry's client takes 4 MB, which a worker without Sentry can save

import logging
import re

from fx_pipeline.api.tokens.file import PREFIX

# Also a name with encoded letters, and anything anywhere that looks like a token.
_KEY = re.compile(r"((?:[?&])(?:[^=&\s]*%[^=&\s]*|access_key)=)[^&\s]*|" + PREFIX + r"[A-Za-z0-9_-]+")


def redact_access_log() -> None:
    """Keep tokens and `access_key` out of the access log of this process."""
    logging.getLogger("uvicorn.access").addFilter(_without_keys)


def report_errors(dsn: str) -> None:
    """Send the errors that this process logs to Sentry.

    Only the log line is sent: no headers, no query, no variables.
    """
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration

    sentry_sdk.init(
        dsn=dsn,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(), AtexitIntegration(lambda pending, timeout: None)],
        include_local_variables=False,
        send_default_pii=False,
    )


def _without_keys(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            _KEY.sub(r"\g<1>[removed]", value) if isinstance(value, str) else value for value in record.args
        )
    return True
