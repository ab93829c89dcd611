"""deploy/monitoring/dashboard.json: each query has a result, and Grafana can show it."""

import json
import re
import runpy
from pathlib import Path

from fx_pipeline_tests.api.monitoring.conftest import FOLDER, FROM_PROMETHEUS, Series, labels_of
from fx_pipeline_tests.promtool import Case, Expected, check_cases

DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

GROUPED = re.compile(r"\b(?:by|ignoring) \((.+?)\)")

COUNTER = re.compile(r"^\w+_(total|bucket|count|sum)\{")


def test_dashboard_json_is_current() -> None:
    made = runpy.run_path(str(FOLDER / "dashboard.py"))["text"]()
    assert (FOLDER / "dashboard.json").read_text(encoding="utf-8") == made, (
        "run deploy/monitoring/dashboard.py"
    )


def test_each_query_of_the_dashboard_has_a_result(
    of_api: Series, of_litestream: Series, tmp_path: Path
) -> None:
    """On the series of a real scrape: the names, the labels and the operators of each query are right."""
    series = {
        one: f"{value}+1x40" if COUNTER.search(one) else f"{value}x40"
        for one, value in {**of_api, **of_litestream, **FROM_PROMETHEUS}.items()
    }
    targets = [target for panel in PANELS for target in panel["targets"]]
    queries = [target["expr"] for target in targets]
    named = [label for query in queries for labels in GROUPED.findall(query) for label in labels.split(", ")]
    named += [label for target in targets for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])]
    assert set(named) <= set().union(*labels_of(series).values())
    expected = [Expected("30m", f"count({filled(query)}) > bool 0", 1) for query in queries]
    assert len(expected) > 40
    check_cases(tmp_path, [], [Case("dashboard", series, expected)])


def filled(query: str) -> str:
    """Return a query as Grafana sends it, with all instances chosen."""
    query = query.replace("$__rate_interval", "5m").replace("$instance", ".*")
    assert "$" not in query
    return query


def test_the_dashboard_shows_every_metric(of_api: Series) -> None:
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    histogram = re.compile(r"_(sum|count)$")
    assert [name for name in labels_of(of_api) if histogram.sub("_bucket", name) not in shown] == []


def test_the_dashboard_has_rows_of_panels_that_do_not_overlap() -> None:
    """https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/."""
    panels = DASHBOARD["panels"]
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        *("Overview", "API", "Ingestion", "Quota", "Data quality", "Replication")
    ]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        covered = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert cells.isdisjoint(covered)
        cells |= covered
    assert [panel["gridPos"]["y"] for panel in panels] == sorted(panel["gridPos"]["y"] for panel in panels)
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries", "table"}
        assert panel["datasource"] == source
        assert [target["datasource"] for target in panel["targets"]] == [source] * len(panel["targets"])
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names) > 0
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    assert "__inputs" not in DASHBOARD
    assert "id" not in DASHBOARD  # Grafana gives it one
