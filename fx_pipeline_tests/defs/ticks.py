"""Ticks of the sensor that sends alerts."""

import dagster as dg

from fx_pipeline.defs.sensors import alerts


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[str, str | None]:
    """Evaluate the alert sensor once. Return the message of the tick and the new cursor."""
    result = alerts(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    reason = result.skip_reason
    return (reason.skip_message or "" if isinstance(reason, dg.SkipReason) else reason or ""), result.cursor
