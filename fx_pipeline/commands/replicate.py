"""The command `replicate`: replication of both database files by Litestream."""

from functools import partial

import click

from fx_pipeline.clock import utc_now
from fx_pipeline.following import reader_refusal
from fx_pipeline.logs import say
from fx_pipeline.processes.ending import end_on_signals
from fx_pipeline.settings import SettingsError, load_settings


@click.command()
def replicate() -> None:
    """Replicate both database files to FX_REPLICA_URL until a signal, next to the writer.

    Runs Litestream, and starts it again if it ends. If the newest commits are not in the store for 30
    seconds, `watch` sends an alert. `up` runs both by itself. Needs the extra `replica`.
    """
    end_on_signals()
    settings = load_settings()
    if reason := reader_refusal(settings.fx_database):
        raise SettingsError(reason)

    from fx_pipeline.replication.replicate import Replication

    print_line = partial(say, err=False)

    def superseded(reason: str) -> None:
        """Alert that this host has stopped. Its `watch` stops too, so it cannot."""
        # Apprise is loaded only for an alert: it takes 20 MB.
        from fx_pipeline.alerting.faults import Fault
        from fx_pipeline.alerting.messages import alert
        from fx_pipeline.alerting.sending import send

        letter = alert(Fault(kind="superseded", text=reason), settings, utc_now())
        for failure in send(letter, settings.fx_alert_urls).failures:
            print_line(failure)

    Replication(settings, print_line, superseded).run()
