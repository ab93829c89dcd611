"""The command `alert-test`: a test message to each address of the alerts."""

import click

from fx_pipeline.settings import SettingsError, load_settings


@click.command("alert-test")
def alert_test() -> None:
    """Send a test message to each address in FX_ALERT_URLS.

    Prints for each address whether it was accepted, without the address' secrets. The exit code is 1 if one
    was not.
    """
    from fx_pipeline.alerting.messages import example
    from fx_pipeline.alerting.sending import send
    from fx_pipeline.clock import utc_now

    settings = load_settings()
    if not settings.fx_alert_urls:
        raise SettingsError("FX_ALERT_URLS is not set: set it to the addresses that alerts are sent to.")
    delivery = send(example(settings, "fx-pipeline alert-test", utc_now()), settings.fx_alert_urls)
    for attempt in delivery.attempts:
        click.echo(attempt)
    if delivery.failures:
        raise SystemExit(1)
