"""deploy/kubernetes: the manifests are valid, agree with each other, and use what exists."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import latest_version

from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.dagster_names import LOCATION
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.deploy.used import DEPLOY, check_command, check_variables, named

Manifest = dict[str, Any]

KUBERNETES = DEPLOY / "kubernetes"
FOLDERS = ("base", "dagster", "readers", "example")
PATCH = KUBERNETES / "replica" / "writer.yaml"
SECRETS = KUBERNETES / "example" / "secret.env.example"
REPLICA_SECRETS = KUBERNETES / "example" / "replica.env.example"
VERSIONS = ("1.29", "1.33", latest_version())
"""ReadWriteOncePod is stable since 1.29."""


def resources(folder: str) -> list[str]:
    return list(yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())["resources"])


def manifests() -> list[Manifest]:
    files = [KUBERNETES / folder / name for folder in FOLDERS for name in resources(folder)]
    found = [one for file in files if file.is_file() for one in yaml.safe_load_all(file.read_text())]
    [writer] = [one for one in found if one["kind"] == "StatefulSet"]
    apply(yaml.safe_load(PATCH.read_text()), writer)
    return found


def apply(patch: Manifest, workload: Manifest) -> None:
    """Change a workload as kustomize does: a container adds to `env` of the one with its name.

    It replaces all other keys.
    """
    pod = workload["spec"]["template"]["spec"]
    by_name = {one["name"]: one for one in pod["containers"]}
    for container in patch["spec"]["template"]["spec"]["containers"]:
        before = by_name.get(container["name"], {})
        env = [*before.get("env", []), *container.get("env", [])]
        by_name[container["name"]] = {**before, **container, "env": env}
    pod["containers"] = list(by_name.values())


MANIFESTS = manifests()


def of_kind(*kinds: str) -> list[Manifest]:
    return [one for one in MANIFESTS if one["kind"] in kinds]


def pods() -> dict[str, Manifest]:
    """Return the pod template of each workload."""
    return {one["metadata"]["name"]: one["spec"]["template"] for one in of_kind("StatefulSet", "Deployment")}


def containers() -> list[Manifest]:
    return [container for pod in pods().values() for container in containers_of(pod)]


def containers_of(pod: Manifest) -> list[Manifest]:
    """Return the containers of a pod, and its sidecars."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def variables(container: Manifest) -> dict[str, Any]:
    return {one["name"]: one for one in container.get("env", [])}


def test_each_file_belongs_to_a_kustomization() -> None:
    used = {f"{folder}/{name}" for folder in FOLDERS for name in resources(folder)}
    used |= {f"{folder}/kustomization.yaml" for folder in (*FOLDERS, "replica")}
    used = {name for name in used if ".." not in name}
    others = {SECRETS, REPLICA_SECRETS, PATCH, KUBERNETES / "dagster-helm-values.yaml"}
    assert used | {str(path.relative_to(KUBERNETES)) for path in others} == set(named(KUBERNETES))


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_each_field(version: str) -> None:
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomize_builds_the_example_with_all_components(tmp_path: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    copy = shutil.copytree(KUBERNETES, tmp_path / "kubernetes") / "example"
    shutil.copy(SECRETS, copy / "secret.env")
    for name in ("replica.env", "reader.env"):
        shutil.copy(REPLICA_SECRETS, copy / name)
    file = copy / "kustomization.yaml"
    file.write_text(file.read_text().replace("  # - ", "  - "))
    built = subprocess.run(["kubectl", "kustomize", copy], capture_output=True, text=True, check=True).stdout
    found = list(yaml.safe_load_all(built))
    assert len(found) == len(MANIFESTS) + 4  # the ConfigMap and three Secrets
    for manifest in found:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    built_pods = [one["spec"]["template"] for one in found if one["kind"] in ("StatefulSet", "Deployment")]
    built_containers = [container for pod in built_pods for container in containers_of(pod)]
    assert {one["image"] for one in built_containers} == {"registry.example.com/fx-pipeline:0.2.0"}
    assert {one["name"] for one in built_containers} == {one["name"] for one in containers()}
    secrets = {one["metadata"]["name"] for one in found if one["kind"] == "Secret"}
    for container in built_containers:
        assert set(secrets_of(container)) <= secrets, container["name"]


def secrets_of(container: Manifest) -> list[str]:
    """Return the Secrets whose variables a container gets, all of each."""
    sources = container.get("envFrom", [])
    return [one["secretRef"]["name"] for one in sources if "secretRef" in one]


def test_commands_and_variables_exist() -> None:
    commands = {container["name"]: container["args"][0] for container in containers()}
    assert commands == {
        "code-server": "code-server",
        "api": "serve",
        "watch": "watch",
        "replicate": "replicate",
        "replica": "replica",
        "reader": "serve",
        "webserver": "webserver",
        "daemon": "daemon",
    }
    for container in containers():
        check_command(container["args"])
        check_variables(variables(container))
    [settings] = yaml.safe_load((KUBERNETES / "example/kustomization.yaml").read_text())["configMapGenerator"]
    check_variables(literal.partition("=")[0] for literal in settings["literals"])


def test_each_secret_is_in_the_example_and_only_where_it_is_needed() -> None:
    examples = {line.partition("=")[0] for line in SECRETS.read_text().splitlines()}
    needed = {
        container["name"]: {
            one["valueFrom"]["secretKeyRef"]["key"]
            for one in variables(container).values()
            if one.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "fx-pipeline"
        }
        for container in containers()
    }
    assert needed == {
        "code-server": {"FIXER_ACCESS_KEY", "FX_DAGSTER_POSTGRES_URL", "FX_HEARTBEAT_URL"},
        "watch": {"FX_DAGSTER_POSTGRES_URL", "FX_ALERT_URLS"},
        "api": {"DATASETTE_SECRET"},
        "replicate": {"FX_ALERT_URLS"},
        "replica": set(),
        "reader": {"DATASETTE_SECRET"},
        "webserver": {"FX_DAGSTER_POSTGRES_URL", "FX_DAGSTER_PASSWORD"},
        "daemon": {"FX_DAGSTER_POSTGRES_URL"},
    }
    assert examples == set.union(*needed.values()) - {"FX_ALERT_URLS", "FX_HEARTBEAT_URL"}
    check_variables(examples)
    check_variables(line.partition("=")[0] for line in REPLICA_SECRETS.read_text().splitlines())
    stores = {one["name"]: secrets_of(one) for one in containers() if secrets_of(one)}
    assert stores == {
        "code-server": ["fx-pipeline-replica"],
        "replicate": ["fx-pipeline-replica"],
        "replica": ["fx-pipeline-reader"],
    }


def test_a_reader_keeps_its_copy_in_the_pod_and_gets_no_requests_while_it_lags() -> None:
    pod = pods()["fx-pipeline-reader"]["spec"]
    assert [sorted(volume) for volume in pod["volumes"]] == [["emptyDir", "name"]] * 2
    [sidecar], [api] = pod["initContainers"], pod["containers"]
    assert sidecar["restartPolicy"] == "Always"  # otherwise the API would wait for its end
    assert sidecar["volumeMounts"] == api["volumeMounts"]
    assert sidecar["startupProbe"]["exec"]["command"][-1] == "/data/fx.db"
    paths = {name: api[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")}
    assert paths == {"readinessProbe": "/-/health/ready", "livenessProbe": "/-/health"}
    assert set(paths.values()) <= {operation.path for operation in OPERATIONS}


def test_pods_meet_the_restricted_standard_with_a_read_only_root() -> None:
    for pod in pods().values():
        security = pod["spec"]["securityContext"]
        assert (security["runAsUser"], security["fsGroup"]) == (10001, 10001)
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False  # FX_API_PORT would be set for a Service fx-api
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data", "/tmp"]  # noqa: S108
        assert container["resources"]["limits"]["memory"]
        # A restart helps a reader neither against a lost store nor against a lost writer.
        assert ("livenessProbe" in container) == (container["name"] != "replica")


def test_one_pod_writes_and_one_daemon_runs() -> None:
    [writer] = of_kind("StatefulSet")
    [claim] = writer["spec"]["volumeClaimTemplates"]
    assert (writer["spec"]["replicas"], claim["spec"]["accessModes"]) == (1, ["ReadWriteOncePod"])
    [daemon] = [one for one in of_kind("Deployment") if one["metadata"]["name"] == "fx-pipeline-daemon"]
    assert (daemon["spec"]["replicas"], daemon["spec"]["strategy"]) == (1, {"type": "Recreate"})


def selected(labels: dict[str, str]) -> list[str]:
    """Return the names of the workloads whose pods have these labels."""
    return [name for name, pod in pods().items() if labels.items() <= pod["metadata"]["labels"].items()]


def test_services_and_policies_select_the_pods_that_they_name() -> None:
    for workload in of_kind("StatefulSet", "Deployment"):
        assert selected(workload["spec"]["selector"]["matchLabels"]) == [workload["metadata"]["name"]]
    ports = {}
    for service in of_kind("Service"):
        [name] = selected(service["spec"]["selector"])
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        offered = {
            port["name"]: port["containerPort"]
            for container in pods()[name]["spec"]["containers"]
            for port in container.get("ports", [])
        }
        ports[service["metadata"]["name"]] = name, {offered[target] for target in targets}
    assert ports == {
        "fx-pipeline-api": ("fx-pipeline", {8001}),
        "fx-pipeline-code": ("fx-pipeline", {4000}),
        "fx-pipeline-reader": ("fx-pipeline-reader", {8001}),
        "fx-pipeline-webserver": ("fx-pipeline-webserver", {3000}),
    }
    [writer] = [one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == "fx-pipeline-writer"]
    [grpc] = [rule for rule in writer["spec"]["ingress"] if rule["ports"] == [{"port": 4000}]]
    callers = [selected(one["podSelector"]["matchLabels"]) for one in grpc["from"]]
    assert callers == [["fx-pipeline-webserver"], ["fx-pipeline-daemon"], []]
    budgets = [selected(one["spec"]["selector"]["matchLabels"]) for one in of_kind("PodDisruptionBudget")]
    assert budgets == [["fx-pipeline"], ["fx-pipeline-reader"]]
    [reader] = [one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == "fx-pipeline-reader"]
    assert selected(reader["spec"]["podSelector"]["matchLabels"]) == ["fx-pipeline-reader"]
    assert [port["port"] for rule in reader["spec"]["egress"] for port in rule["ports"]] == [53, 53, 443]


def test_code_server_is_found_under_the_name_of_its_service() -> None:
    for container in containers():
        address = variables(container).get("FX_CODE_SERVER")
        if address is not None:
            assert address["value"] == "fx-pipeline-code:4000"


def test_helm_values_make_the_instance_of_dagster_yaml(tmp_path: Path) -> None:
    values = yaml.safe_load((KUBERNETES / "dagster-helm-values.yaml").read_text())
    # The chart writes these keys into dagster.yaml as they are, and the launcher under `run_launcher`.
    added = values["additionalInstanceConfig"]
    ours = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert {**added, "telemetry": values["telemetry"]} == ours
    launcher = values["runLauncher"]["config"]["customRunLauncher"]
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={**added, "run_launcher": launcher}) as made:
        assert isinstance(made.run_launcher, dg.DefaultRunLauncher)
        assert made.run_retries_max_retries == 1
    assert values["runLauncher"]["type"] == "CustomRunLauncher"
    daemon = values["dagsterDaemon"]
    # The chart would write these keys a second time.
    assert not any(daemon[name]["enabled"] for name in ("runCoordinator", "runMonitoring", "runRetries"))


def test_helm_values_lead_to_the_code_server() -> None:
    values = yaml.safe_load((KUBERNETES / "dagster-helm-values.yaml").read_text())
    assert values["dagster-user-deployments"] == {"enabled": True, "enableSubchart": False}
    servers = values["dagsterWebserver"]["workspace"]["servers"]
    assert servers == [{"host": "fx-pipeline-code", "port": 4000, "name": LOCATION}]
    assert values["dagsterDaemon"]["image"] == values["dagsterWebserver"]["image"]
