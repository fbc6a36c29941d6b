"""Every set of values passes Helm's strict lint, and every manifest the schemas of the five newest Kubernetes versions."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import jsonschema
import pytest
import yaml
from helm_chart import CHART, SETS, VALUES, Manifest, helm, needs_helm, render, template
from kubernetes_validate import utils as kubernetes
from simulating import ROOT

import proxy

pytestmark = needs_helm
MINORS = [".".join(v.split(".")[:2]) for v in kubernetes.all_versions()[-5:]]
CUSTOM = {
    "monitoring.coreos.com/v1 ServiceMonitor": {"selector", "endpoints", "namespaceSelector"},
    "monitoring.coreos.com/v1 PrometheusRule": {"groups"},
    "gateway.networking.k8s.io/v1 HTTPRoute": {"parentRefs", "hostnames", "rules"},
}
"""Kinds that Kubernetes itself has no schema for, and what their specs may hold here."""


@pytest.fixture(autouse=True, scope="module")
def _read_schemas_once() -> None:
    kubernetes.schema_contents = cache(kubernetes.schema_contents)


def test_there_are_enough_sets() -> None:
    assert len(SETS) >= 8
    assert len(MINORS) == 5


def test_lint_is_strict_about_every_set() -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: helm("lint", "--strict", str(CHART), "-f", str(VALUES / f"{name}.yaml")), SETS))
    assert [(name, d.stdout) for name, d in zip(SETS, done, strict=True) if d.returncode or "Fail" in d.stderr] == []


def _key(manifest: Manifest) -> str:
    return json.dumps(manifest, sort_keys=True)


@pytest.mark.parametrize("minor", MINORS)
def test_every_manifest_is_valid(minor: str) -> None:
    distinct = {_key(m): m for name in SETS for m in render(name)}
    assert len(distinct) > 50
    for manifest in distinct.values():
        if f"{manifest['apiVersion']} {manifest['kind']}" not in CUSTOM:
            kubernetes.validate(manifest, minor, strict=True)


def test_the_schemas_would_notice() -> None:
    wrong = json.loads(_key(next(m for m in render("minimal") if m["kind"] == "Deployment")))
    wrong["spec"]["template"]["spec"]["contaners"] = []
    with pytest.raises(jsonschema.ValidationError):
        kubernetes.validate(wrong, MINORS[-1], strict=True)


def test_custom_resources_hold_what_their_kinds_know() -> None:
    found = [m for name in SETS for m in render(name) if f"{m['apiVersion']} {m['kind']}" in CUSTOM]
    assert {f"{m['apiVersion']} {m['kind']}" for m in found} == set(CUSTOM)
    for manifest in found:
        assert set(manifest["spec"]) <= CUSTOM[f"{manifest['apiVersion']} {manifest['kind']}"]


@pytest.mark.parametrize("name", SETS)
def test_every_resource_is_named_once_and_labelled(name: str) -> None:
    manifests = render(name)
    ids = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(ids) == len(set(ids))
    for manifest in manifests:
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo", manifest["metadata"]["name"]
        assert len(manifest["metadata"]["name"]) <= 63


def test_the_chart_is_of_this_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == proxy.__version__
    assert (ROOT / "Dockerfile").exists()


def test_values_of_the_first_version_still_render_as_an_upgrade() -> None:
    done = template("--is-upgrade", "-f", str(VALUES / "upgrade-0.1.0.yaml"))
    assert done.returncode == 0, done.stderr
    objects = {(m["kind"], m["metadata"]["name"]): m for m in yaml.safe_load_all(done.stdout) if m}
    labels = {"app.kubernetes.io/name": "fleetgate", "app.kubernetes.io/instance": "demo", "app.kubernetes.io/component": "proxy"}
    assert objects["Deployment", "demo-fleetgate"]["spec"]["selector"] == {"matchLabels": labels}  # can never be changed
    assert {kind for kind, _ in objects} >= {"HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor", "PodDisruptionBudget", "Secret"}


def test_what_can_never_be_changed_of_the_built_in_server() -> None:
    (server,) = [m for m in render("valkey") if m["kind"] == "StatefulSet"]
    labels = {"app.kubernetes.io/name": "fleetgate", "app.kubernetes.io/instance": "demo", "app.kubernetes.io/component": "valkey"}
    assert server["metadata"]["name"] == server["spec"]["serviceName"] == "demo-fleetgate-valkey"
    assert server["spec"]["selector"] == {"matchLabels": labels}
    assert [claim["metadata"]["name"] for claim in server["spec"]["volumeClaimTemplates"]] == ["data"]


def test_notes_tell_the_next_three_commands() -> None:
    text = (CHART / "templates" / "NOTES.txt").read_text()
    assert [line[:2] for line in text.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3."]
    assert all(word in text for word in ("rollout status", "keys create", "helm test"))
