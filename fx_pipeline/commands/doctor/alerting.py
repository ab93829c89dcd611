"""Checks of how the operator is alerted: the addresses of alerts, and the dead man's switch."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding, fault, ok, warning
from fx_pipeline.following import is_reader
from fx_pipeline.rates import counted
from fx_pipeline.settings import SettingsError

CONNECT_SECONDS = 2.5


def alerts(facts: Facts) -> Iterator[Finding]:
    """Check each address and, with `--alert`, send it a test message."""
    settings = facts.settings
    if not settings.fx_alert_urls:
        if settings.demo or is_reader(settings.fx_database):
            yield ok("alerts", "FX_ALERT_URLS is not set")
        else:
            yield warning(
                "alerts",
                "FX_ALERT_URLS is not set, so failed runs and checks are only shown in Dagster",
                "Set it to the addresses that alerts are sent to.",
            )
        return

    from fx_pipeline.alerting.messages import example
    from fx_pipeline.alerting.sending import Message, check_addresses, send

    try:
        check_addresses(settings.fx_alert_urls)
    except SettingsError as error:
        yield fault("alerts", str(error).rstrip("."), "Correct FX_ALERT_URLS.")
        return
    count = counted(len(settings.fx_alert_urls), "address", "addresses")
    if not facts.with_alert:
        yield ok("alerts", f"{count} can be used. `--alert` sends a test message")
        return
    letter = example(settings, "fx-pipeline doctor --alert", utc_now())
    delivery = send(Message(letter.title, letter.text, letter.type), settings.fx_alert_urls)
    for failure in delivery.failures:
        yield fault("alerts", failure, "Correct the address, or check the service.")
    if not delivery.failures:
        yield ok("alerts", f"{count} accepted a test message")


def heartbeat(facts: Facts) -> Iterator[Finding]:
    """Connect to the service of the dead man's switch. Send nothing: a call would count as a good day."""
    url = facts.settings.fx_heartbeat_url
    if url is None:
        yield ok("heartbeat", "FX_HEARTBEAT_URL is not set")
        return
    parts = urlsplit(url.get_secret_value())
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError as error:  # its text may contain a part of the address, which is a secret
        reason = "its name cannot be resolved" if isinstance(error, socket.gaierror) else "it does not answer"
        yield fault(
            "heartbeat",
            f"the service in FX_HEARTBEAT_URL cannot be reached: {reason}",
            "Check the address and the network.",
        )
    else:
        yield ok("heartbeat", "the service in FX_HEARTBEAT_URL accepts connections")
