"""Checks of how the operator is alerted: addresses, the watcher, and the dead man's switch."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from fx_pipeline.alerted import alerts_summary, read_alerts, watcher_problem
from fx_pipeline.alerting.conditions import of_alerts
from fx_pipeline.clock import utc_now
from fx_pipeline.commands.doctor.connecting import reached
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding, fault, of_message, ok, warning
from fx_pipeline.following import is_reader
from fx_pipeline.rates import counted
from fx_pipeline.settings import SettingsError


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
    from fx_pipeline.alerting.sending import check_addresses, send

    try:
        check_addresses(settings.fx_alert_urls)
    except SettingsError as error:
        yield fault("alerts", str(error).rstrip("."), "Correct FX_ALERT_URLS.")
        return
    count = counted(len(settings.fx_alert_urls), "address", "addresses")
    if not facts.with_alert:
        yield ok("alerts", f"{count} can be used. `--alert` sends a test message")
        return
    delivery = send(example(settings, "fx-pipeline doctor --alert", utc_now()), settings.fx_alert_urls)
    for failure in delivery.failures:
        yield fault("alerts", failure, "Correct the address, or check the service.")
    if not delivery.failures:
        yield ok("alerts", f"{count} accepted a test message")


def watcher(facts: Facts) -> Iterator[Finding]:
    """Check that `fx-pipeline watch` looks at this instance, and that its messages were accepted."""
    settings, now = facts.settings, utc_now()
    state = read_alerts(settings.fx_database)
    if problem := watcher_problem(state, now, wanted=bool(settings.fx_alert_urls)):
        yield of_message("watcher", problem)
    elif state is None:
        yield ok("watcher", "it has never looked at this database, and FX_ALERT_URLS is not set")
    else:
        yield ok("watcher", f"it last looked at {state.looked_at.isoformat(timespec='seconds')}")
    document = {"alert_addresses": None, "alerts": alerts_summary(state), "watcher_problem": None}
    undelivered = [
        fault("undelivered alerts", one.line, "Send a test with `fx-pipeline doctor --alert`.")
        for one in of_alerts(document)
    ]
    yield from undelivered or [ok("undelivered alerts", "none")]


def heartbeat(facts: Facts) -> Iterator[Finding]:
    """Connect to the service of the dead man's switch. Send nothing: a call would count as a good day."""
    url = facts.settings.fx_heartbeat_url
    if url is None:
        yield ok("heartbeat", "FX_HEARTBEAT_URL is not set")
        return
    parts = urlsplit(url.get_secret_value())
    port = parts.port or (443 if parts.scheme == "https" else 80)
    yield reached(
        "heartbeat",
        "the service in FX_HEARTBEAT_URL",
        (parts.hostname or "", port),
        "Check the address and the network.",
    )
