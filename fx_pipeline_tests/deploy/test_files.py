"""The files of deploy/compose, checked without containers. `make lint` checks their syntax."""

import re

import yaml

from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.deploy.used import check_command, check_variables

COMPOSE = PROJECT / "deploy" / "compose"


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
