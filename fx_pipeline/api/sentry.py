"""Reports the errors of the API to Sentry, without tokens: its client collects much data by default."""

# ruff: noqa: PLC0415  # Sentry's client takes 4 MB, which a worker without Sentry can save


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
        # Without a level, it does not send earlier lines, such as those of the access log, as breadcrumbs.
        integrations=[LoggingIntegration(level=None), AtexitIntegration(lambda pending, timeout: None)],
        include_local_variables=False,
        send_default_pii=False,
    )
