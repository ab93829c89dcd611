"""The files of deploy/compose, checked without containers. `make lint` checks their syntax."""

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.deploy.used import check_command, check_variables
from fx_pipeline_tests.promtool import run

COMPOSE = PROJECT / "deploy" / "compose"
MONITORING = ("prometheus", "alertmanager", "grafana")


def test_only_nginx_can_be_reached_from_outside_and_every_service_is_confined() -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    for name, service in services.items():
        confined = (service["read_only"], service["cap_drop"], service["security_opt"], service["restart"])
        assert confined == (True, ["ALL"], ["no-new-privileges:true"], "unless-stopped"), name
        # The image of the API has one.
        assert "healthcheck" in service or service["command"][0] == "serve", name


def test_each_reader_follows_the_replica_in_a_volume_of_its_own_and_is_behind_nginx() -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    [target] = re.findall(r"set \$api http://(\w+):8001;", (COMPOSE / "nginx/locations.conf").read_text())
    behind = {name for name, one in services.items() if "networks" in one}
    assert behind == {name for name, one in services.items() if (one.get("command") or [""])[0] == "serve"}
    assert behind == {"api", "reader-1", "reader-2"}
    for name in behind:
        assert services[name]["networks"]["default"]["aliases"] == [target]
    for number in (1, 2):
        reader, follower = services[f"reader-{number}"], services[f"follower-{number}"]
        assert reader["profiles"] == follower["profiles"] == ["readers"]
        assert reader["volumes"] == [f"reader-{number}:/data"] == follower["volumes"][:1]
        assert reader["depends_on"] == {f"follower-{number}": {"condition": "service_healthy"}}
        for one in (reader, follower):
            check_command(one["command"] if one is follower else ["serve"])
            check_variables(one["environment"])


def test_the_configuration_for_celery_is_dagster_yaml_with_another_launcher() -> None:
    ours = yaml.safe_load((PROJECT / "dagster.yaml").read_text(encoding="utf-8"))
    celery = yaml.safe_load((COMPOSE / "dagster-celery.yaml").read_text(encoding="utf-8"))
    different = {name for name in ours | celery if ours.get(name) != celery.get(name)}
    assert different == {"storage", "compute_logs", "run_launcher", "run_monitoring", "run_retries"}


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def mounted(service: str, folder: Path) -> Path:
    """Copy the files that a service sees into a folder, in which they have the paths of the container."""
    for volume in services()[service]["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            place = folder / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(COMPOSE / source, place)
    return folder


def option(service: str, name: str) -> str:
    [value] = [one.partition("=")[2] for one in services()[service]["command"] if one.startswith(f"{name}=")]
    return str(value)


def test_prometheus_and_alertmanager_accept_their_files(tmp_path: Path) -> None:
    file = option("prometheus", "--config.file").lstrip("/")
    run("promtool", "check", "config", mounted("prometheus", tmp_path) / file)
    run("promtool", "check", "config", PROJECT / "deploy/monitoring/prometheus.yml")
    file = option("alertmanager", "--config.file").lstrip("/")
    run("amtool", "check-config", mounted("alertmanager", tmp_path) / file)


def test_prometheus_asks_the_api_and_each_reader_at_the_port_without_a_token(tmp_path: Path) -> None:
    file = mounted("prometheus", tmp_path) / "etc/prometheus/prometheus.yml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    [job] = document["scrape_configs"]
    [found] = job["dns_sd_configs"]
    servers = {name: one for name, one in services().items() if one.get("command", [""])[0] == "serve"}
    assert set(found["names"]) == set(servers)
    for one in servers.values():
        assert one["environment"]["FX_METRICS_PORT"] == found["port"]
        assert one["environment"]["FX_METRICS_HOST"] == "0.0.0.0"  # noqa: S104
    locations = (COMPOSE / "nginx/locations.conf").read_text(encoding="utf-8")
    assert str(found["port"]) not in locations
    [alerting] = document["alerting"]["alertmanagers"]
    assert alerting["static_configs"][0]["targets"] == ["alertmanager:9093"]


def test_both_examples_load_the_same_rules_for_a_job_of_the_same_name() -> None:
    here, there = (
        yaml.safe_load((PROJECT / "deploy" / file).read_text(encoding="utf-8"))
        for file in ("monitoring/prometheus.yml", "compose/monitoring/prometheus.yml")
    )
    assert here["rule_files"] == there["rule_files"] == ["rules.yml"]
    assert here["scrape_configs"][0]["job_name"] == there["scrape_configs"][0]["job_name"] == "fx-pipeline"


def test_grafana_has_the_dashboard_and_reaches_prometheus_and_alertmanager(tmp_path: Path) -> None:
    provisioning = mounted("grafana", tmp_path) / "etc/grafana/provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards/fx-pipeline.yaml").read_text())["providers"]
    [dashboard] = (tmp_path / provider["options"]["path"].lstrip("/")).iterdir()
    assert dashboard.read_bytes() == (PROJECT / "deploy/monitoring/dashboard.json").read_bytes()
    sources = yaml.safe_load((provisioning / "datasources/fx-pipeline.yaml").read_text())["datasources"]
    reached = {source["type"]: urlsplit(source["url"]).netloc for source in sources}
    assert reached == {"prometheus": "prometheus:9090", "alertmanager": "alertmanager:9093"}
    assert [source["type"] for source in sources if source.get("isDefault")] == ["prometheus"]
    assert {name for name, one in services().items() if one.get("profiles") == ["monitoring"]} == set(
        MONITORING
    )
