"""What kustomize makes of k8s/: whatever is referred to is there, and every container is guarded and watched."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
VALIDATE = Path(__file__).parents[2] / "build" / "kubernetes-validate"
OVERLAYS = ("demo", "production")
MADE_BY_OPERATOR = {"contactsync", "gateway-tls", "nats-encryption", "nats-seeds", "nats-tls"}
"""Secrets that production only refers to (k8s/README.md)."""

Json = dict[str, Any]

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="NOT TESTED: there is no kubectl here")


@cache
def rendered(overlay: str) -> list[Json]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(K8S / "overlays" / overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Json]:
    return rendered(request.param)


def of_kind(objects: list[Json], *kinds: str) -> list[Json]:
    return [one for one in objects if one["kind"] in kinds]


def names(objects: list[Json], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in of_kind(objects, kind)}


def workloads(objects: list[Json]) -> list[Json]:
    return of_kind(objects, "Deployment", "StatefulSet", "Job")


def pod_of(workload: Json) -> Json:
    found: Json = workload["spec"]["template"]["spec"]
    return found


def labels_of(workload: Json) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def containers(objects: list[Json]) -> Iterator[tuple[Json, Json]]:
    for workload in workloads(objects):
        for container in pod_of(workload)["containers"]:
            yield workload, container


def chosen(objects: list[Json], selector: Json) -> list[Json]:
    wanted = selector.get("matchLabels", selector)
    return [one for one in workloads(objects) if wanted.items() <= labels_of(one).items()]


def ports_of(workload: Json) -> dict[Any, int]:
    """By name and by number."""
    ports = [port for container in pod_of(workload)["containers"] for port in container.get("ports", [])]
    return {port["name"]: port["containerPort"] for port in ports} | {
        port["containerPort"]: port["containerPort"] for port in ports
    }


def test_every_selector_chooses_something(objects: list[Json]) -> None:
    for workload in of_kind(objects, "Deployment", "StatefulSet"):
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels_of(workload).items()
    for one in of_kind(objects, "Service"):
        assert len(chosen(objects, one["spec"]["selector"])) == 1, one["metadata"]["name"]
    for one in of_kind(objects, "PodDisruptionBudget"):
        assert len(chosen(objects, one["spec"]["selector"])) == 1, one["metadata"]["name"]
    for one in of_kind(objects, "NetworkPolicy"):
        if one["spec"]["podSelector"]:
            assert chosen(objects, one["spec"]["podSelector"]), one["metadata"]["name"]
        for rule in (*one["spec"].get("ingress", []), *one["spec"].get("egress", [])):
            for peer in (*rule.get("from", []), *rule.get("to", [])):
                if "podSelector" in peer:
                    assert chosen(objects, peer["podSelector"]), one["metadata"]["name"]


def test_every_port_that_is_named_is_there(objects: list[Json]) -> None:
    for one in of_kind(objects, "Service"):
        (workload,) = chosen(objects, one["spec"]["selector"])
        for port in one["spec"]["ports"]:
            assert port["targetPort"] in ports_of(workload), (one["metadata"]["name"], port)
    for workload, container in containers(objects):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                at = container[probe].get("httpGet") or container[probe]["tcpSocket"]
                assert at["port"] in ports_of(workload), (workload["metadata"]["name"], probe)
    for one in of_kind(objects, "NetworkPolicy"):
        for rule in one["spec"].get("ingress", []):
            for target in chosen(objects, one["spec"]["podSelector"]):
                open_here = [port["port"] for port in rule["ports"] if port["port"] in ports_of(target)]
                assert open_here or target["kind"] == "Job", (one["metadata"]["name"], target["metadata"]["name"])
    for one in of_kind(objects, "Ingress"):
        for rule in one["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                (there,) = [s for s in of_kind(objects, "Service") if s["metadata"]["name"] == service["name"]]
                assert service["port"]["name"] in {port["name"] for port in there["spec"]["ports"]}


def referred(pod: Json) -> Iterator[tuple[str, str]]:
    """(kind, name) of each ConfigMap and Secret that a pod needs."""
    for container in pod["containers"]:
        for source in container.get("envFrom", []):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source:
                    yield kind, source[key]["name"]
        for variable in container.get("env", []):
            if secret := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", secret["name"]
    for volume in pod.get("volumes", []):
        for part in volume.get("projected", {}).get("sources", [volume]):
            if "configMap" in part:
                yield "ConfigMap", part["configMap"]["name"]
            if "secret" in part:
                yield "Secret", part["secret"].get("secretName") or part["secret"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_reference_leads_somewhere(overlay: str) -> None:
    objects = rendered(overlay)
    secrets = names(objects, "Secret") | (MADE_BY_OPERATOR if overlay == "production" else set())
    there = {"ConfigMap": names(objects, "ConfigMap"), "Secret": secrets}
    for workload in workloads(objects):
        pod = pod_of(workload)
        assert pod["serviceAccountName"] in names(objects, "ServiceAccount")
        for kind, name in referred(pod):
            assert name in there[kind], (workload["metadata"]["name"], kind, name)
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for one in of_kind(objects, "StatefulSet"):
        assert one["spec"]["serviceName"] in names(objects, "Service")


def test_every_container_is_guarded_watched_and_bounded(objects: list[Json]) -> None:
    for workload, container in containers(objects):
        where, pod = workload["metadata"]["name"], pod_of(workload)
        assert pod["automountServiceAccountToken"] is False, where
        assert pod["securityContext"]["runAsNonRoot"] is True, where
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True, where
        assert rights["allowPrivilegeEscalation"] is False, where
        assert rights["capabilities"] == {"drop": ["ALL"]}, where
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), where
        assert "memory" in container["resources"]["limits"], where
        if workload["kind"] != "Job":
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), where


@pytest.mark.parametrize("version", ["1.30", "1.33", "1.37"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_every_field(overlay: str, version: str, tmp_path: Path) -> None:
    if not (VALIDATE / "bin" / "kubernetes-validate").exists():
        pytest.skip("NOT TESTED: no kubernetes-validate in build/ (.ci/run puts it there)")
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(rendered(overlay)))
    done = subprocess.run(
        [sys.executable, "bin/kubernetes-validate", "--strict", "-k", version, str(tmp_path / "all.yaml")],
        cwd=VALIDATE,
        env={**os.environ, "PYTHONPATH": str(VALIDATE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_services_have_two_replicas_and_time_to_drain() -> None:
    for one in of_kind(rendered("production"), "Deployment"):
        assert one["spec"]["replicas"] == 2
        assert pod_of(one)["terminationGracePeriodSeconds"] > 25


def test_each_service_has_its_own_seed_and_no_other() -> None:
    for one in (*of_kind(rendered("production"), "Deployment"), *of_kind(rendered("production"), "Job")):
        name = {"provision": "operator"}.get(one["metadata"]["name"], one["metadata"]["name"])
        sources = [source for v in pod_of(one)["volumes"] for source in v.get("projected", {}).get("sources", [])]
        seeds = [item["key"] for s in sources if s["secret"]["name"] == "nats-seeds" for item in s["secret"]["items"]]
        assert seeds == [name]
        mounted = [key for _, key in referred(pod_of(one)) if key == "nats-seeds"]
        assert mounted == ["nats-seeds"]


def test_production_has_no_secret_of_its_own_and_nats_keeps_everything() -> None:
    objects = rendered("production")
    assert of_kind(objects, "Secret") == []
    (nats,) = of_kind(objects, "StatefulSet")
    assert nats["spec"]["replicas"] == 3
    config = next(one["data"] for one in of_kind(objects, "ConfigMap") if "nats.conf" in one.get("data", {}))
    for words in ("sync_interval: always", "cipher: chacha", "key: $JETSTREAM_KEY", "tls {", 'include "users.conf"'):
        assert words in config["nats.conf"], words
    keys = next(one["data"] for one in of_kind(objects, "ConfigMap") if "NKEY_SYS" in one.get("data", {}))
    wanted = {word[1:] for word in config["users.conf"].replace("\n", " ").split() if word.startswith("$NKEY_")}
    assert wanted == keys.keys()


def test_nobody_is_let_out_to_machines_of_the_own_network() -> None:
    for one in of_kind(rendered("production"), "NetworkPolicy"):
        for rule in one["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if block := peer.get("ipBlock"):
                    kept = [ipaddress.ip_network(each) for each in block["except"]]
                    for inside in ("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254"):
                        assert any(ipaddress.ip_address(inside) in network for network in kept)
