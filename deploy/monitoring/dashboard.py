"""Writes dashboard.json for Grafana from the panels in dashboard.yaml."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent

WIDTH = 24
"""Columns of Grafana's grid."""

HEIGHTS = {"stat": 4, "graph": 8, "table": 8}

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

WORDS = {
    "INSTANCE": 'instance=~"$instance"',
    "RANGE": "$__rate_interval",
    "RATES": 'operation!~"health|readiness|freshness"',
}
"""The words of dashboard.yaml, and what a query has in their place."""

HIDDEN = ("Time", "__name__", "alertstate", "job", "kind")
"""Columns that tables leave out."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    },
    "graph": {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"cellHeight": "sm", "showHeader": True},
}

LINES = {"drawStyle": "line", "fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "spanNulls": False}


def dashboard(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the dashboard in Grafana's classic model."""
    return {
        "uid": "fx-pipeline",
        "title": "fx-pipeline",
        "description": "The API, ingestion, the quota, the quality of the data, and replication.",
        "tags": ["fx-pipeline"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": list(_variables())},
        "panels": list(_panels(rows)),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
    }
    query = "label_values(fx_build_info, instance)"
    yield {
        "name": "instance",
        "label": "Instance",
        "type": "query",
        "datasource": SOURCE,
        "query": {"qryType": 1, "query": query, "refId": "instance"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield each row and the panels below it. Panels of different kinds share no line."""
    number = top = 0
    for title, panels in rows.items():
        number += 1
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        top, left, height = top + 1, 0, 0
        for panel in panels:
            kind, width = next(kind for kind in HEIGHTS if kind in panel), panel.get("width", 12)
            if left + width > WIDTH or height not in (0, HEIGHTS[kind]):
                top, left = top + height, 0
            number, height = number + 1, HEIGHTS[kind]
            place = {"h": height, "w": width, "x": left, "y": top}
            yield {"id": number, "gridPos": place, **_panel(kind, panel)}
            left += width
        top += height


def _panel(kind: str, panel: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.get("unit", "none")}
    made: dict[str, Any] = {
        "type": "timeseries" if kind == "graph" else kind,
        "title": panel[kind],
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": OPTIONS[kind],
        "targets": [
            _target(kind, name, query, legend)
            for name, (legend, query) in zip(
                "ABCDEFGH", panel.get("queries", {"__auto": panel.get("query")}).items(), strict=False
            )
        ],
    }
    if kind == "graph":
        defaults |= {"min": 0, "custom": LINES, "color": {"mode": "palette-classic"}}
    elif kind == "stat":
        defaults |= {"color": {"mode": "thresholds"}, "noValue": "unknown", "thresholds": _thresholds(panel)}
    else:
        left_out = {"excludeByName": dict.fromkeys(HIDDEN, True)}
        made["transformations"] = [{"id": "organize", "options": left_out}]
    return made


def _thresholds(panel: Mapping[str, Any]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "text", "value": None}]
    if "bad" in panel:
        first, second = ("red", "green") if panel.get("less_is_bad") else ("green", "red")
        steps = [{"color": first, "value": None}, {"color": second, "value": panel["bad"]}]
    return {"mode": "absolute", "steps": steps}


def _target(kind: str, name: str, query: str, legend: str) -> dict[str, Any]:
    for word, meaning in WORDS.items():
        query = query.replace(word, meaning)
    return {
        "refId": name,
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend,
        "format": "table" if kind == "table" else "time_series",
        "instant": kind != "graph",
        "range": kind == "graph",
    }


def text() -> str:
    """Return the content of dashboard.json."""
    rows = yaml.safe_load((FOLDER / "dashboard.yaml").read_text(encoding="utf-8"))
    return json.dumps(dashboard(rows), indent=1) + "\n"


if __name__ == "__main__":
    (FOLDER / "dashboard.json").write_text(text(), encoding="utf-8")
