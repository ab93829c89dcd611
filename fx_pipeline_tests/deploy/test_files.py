"""The files of deploy/compose, checked without containers. `make lint` checks their syntax."""

import yaml

from fx_pipeline.settings import PROJECT

COMPOSE = PROJECT / "deploy" / "compose"


def test_only_nginx_can_be_reached_from_outside_and_every_service_is_confined() -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    for name, service in services.items():
        confined = (service["read_only"], service["cap_drop"], service["security_opt"], service["restart"])
        assert confined == (True, ["ALL"], ["no-new-privileges:true"], "unless-stopped"), name
        assert "healthcheck" in service or name == "api", name  # the image of the API has one


def test_the_configuration_for_celery_is_dagster_yaml_with_another_launcher() -> None:
    ours = yaml.safe_load((PROJECT / "dagster.yaml").read_text(encoding="utf-8"))
    celery = yaml.safe_load((COMPOSE / "dagster-celery.yaml").read_text(encoding="utf-8"))
    different = {name for name in ours | celery if ours.get(name) != celery.get(name)}
    assert different == {"storage", "compute_logs", "run_launcher", "run_monitoring", "run_retries"}
