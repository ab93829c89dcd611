"""What the API tells of itself: uvicorn's access log, and errors to Sentry. No token is in either.

Tokens are taken out of a request before anything can fail over it (`access`). What is left is the access log,
which uvicorn writes of the request as it came, and what Sentry would collect by itself.
"""

# ruff: noqa: PLC0415  # Sentry's client is 4 MB that a worker without it need not hold

import logging
import re

from fx_pipeline.api.tokens.file import PREFIX
from fx_pipeline.settings import SettingsError

# Also where a client has encoded letters of the name, and whatever looks like a token, wherever it stands.
_KEY = re.compile(r"((?:[?&])(?:[^=&\s]*%[^=&\s]*|access_key)=)[^&\s]*|" + PREFIX + r"[A-Za-z0-9_-]+")


def redact_access_log() -> None:
    """From now on the access log of this process shows no token and no `access_key`."""
    logging.getLogger("uvicorn.access").addFilter(_without_keys)


def report_errors(dsn: str) -> None:
    """Send what is logged as an error to Sentry, from this process on. Raises SettingsError for a bad DSN.

    Nothing of the request is sent but what the log line says of it: no headers, no query, no variables.
    """
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration

    check_dsn(dsn)
    sentry_sdk.init(
        dsn=dsn,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(), AtexitIntegration(lambda pending, timeout: None)],
        include_local_variables=False,
        send_default_pii=False,
    )


def check_dsn(dsn: str) -> None:
    """Raise SettingsError unless this names a project at a Sentry. The DSN, a secret, is not repeated."""
    from sentry_sdk.utils import Dsn

    try:
        Dsn(dsn)
    except ValueError:
        raise SettingsError(
            "SENTRY_DSN cannot be used: it is not of the form https://KEY@HOST/PROJECT, as Sentry shows it."
        ) from None


def _without_keys(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            _KEY.sub(r"\g<1>[removed]", value) if isinstance(value, str) else value for value in record.args
        )
    return True
