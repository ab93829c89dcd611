"""The command `replicate`: replication of both database files by Litestream."""

from functools import partial

import click

from fx_pipeline.following import reader_refusal
from fx_pipeline.logs import say
from fx_pipeline.processes.ending import end_on_signals
from fx_pipeline.settings import SettingsError, load_settings


@click.command()
def replicate() -> None:
    """Replicate both database files to FX_REPLICA_URL until a signal, next to the writer.

    Runs Litestream, and starts it again if it ends. If the newest commits are not in the store for 30
    seconds, it sends an alert to FX_ALERT_URLS. `up` runs this by itself. Needs the extra `replica`.
    """
    end_on_signals()
    settings = load_settings()
    if reason := reader_refusal(settings.fx_database):
        raise SettingsError(reason)

    from fx_pipeline.replication.replicate import Replication

    print_line = partial(say, err=False)

    def notify(fault: str) -> bool:
        # Apprise is loaded only for an alert: it takes 20 MB.
        from fx_pipeline.alerts import Alert, send

        alert = Alert("fx-pipeline: replication fails", fault, f"{settings.api_url}/-/health")
        delivery = send(alert, settings.fx_alert_urls)
        for failure in delivery.failures:
            print_line(failure)
        return not settings.fx_alert_urls or delivery.accepted > 0

    Replication(settings, print_line, notify).run()
