"""What pods may do and who may reach whom: restricted Pod Security, termination, probes, volumes, network policies, scaling."""

from __future__ import annotations

from typing import Any

import pytest
from helm_chart import SETS, VALUES, Manifest, needs_helm, of_kind, one, pod_of, proxy_of, render, template

pytestmark = needs_helm


def _pods(name: str) -> list[Manifest]:
    owned = [m["spec"]["template"]["spec"] for m in render(name) if m["kind"] in ("Deployment", "StatefulSet")]
    return owned + [m["spec"] for m in of_kind(name, "Pod")]


@pytest.mark.parametrize("name", SETS)
def test_pods_pass_the_restricted_standard(name: str) -> None:
    pods = _pods(name)
    assert len(pods) >= 2
    for pod in pods:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert all(set(v) & {"configMap", "secret", "emptyDir", "persistentVolumeClaim"} for v in pod.get("volumes", []))
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", SETS)
def test_nothing_secret_is_written_beside_secrets(name: str) -> None:
    for manifest in render(name):
        if manifest["kind"] != "Secret":
            assert "not-the-default-of-anything" not in str(manifest)
    assert [m["metadata"]["name"] for m in of_kind("minimal", "Secret")] == []  # no default anywhere


@pytest.mark.parametrize(
    ("name", "stop", "drain"), [("minimal", 10, 120), ("production", 10, 600), ("bare", 0, 120), ("config-file", 10, 90)]
)
def test_a_pod_may_end_as_long_as_its_streams_drain(name: str, stop: int, drain: int) -> None:
    assert pod_of(name)["terminationGracePeriodSeconds"] == stop + drain + 20
    assert proxy_of(name).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0) == stop


def test_probes_ask_the_admin_port() -> None:
    proxy = proxy_of("minimal")
    asked = {kind: proxy[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {
        "startupProbe": {"path": "/healthz", "port": "admin"},
        "readinessProbe": {"path": "/readyz", "port": "admin"},
        "livenessProbe": {"path": "/healthz", "port": "admin"},
    }


def test_files_are_whole_volumes_so_that_a_swap_reloads() -> None:
    mounts = {m["name"]: m for m in proxy_of("production")["volumeMounts"]}
    assert {"config", "agents", "policies", "budgets", "keys", "providers"} <= set(mounts)
    assert not any("subPath" in m for m in mounts.values())  # a file of its own is never swapped


def test_only_the_switch_replaces_pods_when_files_change() -> None:
    def annotations(name: str, *more: str) -> Any:
        return one(name, "Deployment", "", *more)["spec"]["template"]["metadata"]["annotations"]

    assert not any("checksum" in key for key in annotations("minimal"))
    before = annotations("production")
    after = annotations("production", "--set", "agents.files.more\\.md=x")
    assert before["checksum/files"] != after["checksum/files"]
    assert before["checksum/secrets"] == after["checksum/secrets"]


def _peers(rule: Manifest) -> list[Any]:
    return list(rule.get("to") or rule.get("from") or [])


def _ports(rule: Manifest) -> set[Any]:
    return {port["port"] for port in rule["ports"]}


@pytest.mark.parametrize("name", [s for s in SETS if s != "bare"])
def test_agents_reach_names_and_the_proxy_alone(name: str) -> None:
    policies = [m for m in of_kind(name, "NetworkPolicy") if m["metadata"]["name"].endswith("-agents")]
    assert policies
    for policy in policies:
        assert policy["spec"]["policyTypes"] == ["Egress"]
        dns, proxy = policy["spec"]["egress"]
        assert _ports(dns) == {53}
        assert _ports(proxy) == {"http"}
        (peer,) = _peers(proxy)
        labels = one(name, "Deployment")["spec"]["selector"]["matchLabels"]
        assert peer["podSelector"]["matchLabels"] == labels
        assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "fleets"}
        assert all("ipBlock" not in p for rule in policy["spec"]["egress"] for p in _peers(rule))


def test_agents_of_several_namespaces_are_each_held() -> None:
    policies = [m for m in of_kind("multi-tenant", "NetworkPolicy") if m["metadata"]["name"].endswith("-agents")]
    assert [p["metadata"]["namespace"] for p in policies] == ["blue-agents", "blue-batch"]
    (rule,) = one("multi-tenant", "NetworkPolicy")["spec"]["ingress"]
    names = [p["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for p in rule["from"] if "namespaceSelector" in p]
    assert names == ["blue-agents", "blue-batch"]


def test_the_proxy_reaches_what_its_configuration_names() -> None:
    spec = one("production", "NetworkPolicy")["spec"]
    dns, providers, redis, otlp = spec["egress"]
    assert _ports(dns) == {53}
    assert _ports(providers) == {443, 11434, 8088}
    assert all("ipBlock" in peer for peer in _peers(providers))
    assert _ports(redis) == {6379}
    assert _ports(otlp) == {4317}
    assert [_ports(rule) for rule in spec["ingress"]] == [{"http"}, {"admin"}]
    assert _ports(one("workload-tokens", "NetworkPolicy")["spec"]["egress"][1]) == {443, 6443}
    assert _ports(one("redis-tls", "NetworkPolicy")["spec"]["egress"][2]) == {26379, 26380, 6379}


def test_the_admin_plane_is_closed_unless_somebody_is_named() -> None:
    assert [_ports(rule) for rule in one("minimal", "NetworkPolicy")["spec"]["ingress"]] == [{"http"}]
    assert of_kind("minimal", "Service")[0]["spec"]["ports"][0]["targetPort"] == "http"
    assert len(of_kind("minimal", "Service")) == 1


def test_the_built_in_server_hears_the_proxy_alone_and_forgets_nothing() -> None:
    spec = one("valkey", "NetworkPolicy", "-valkey")["spec"]
    assert spec["egress"] == []
    assert spec["ingress"][0]["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "proxy"
    (server,) = of_kind("valkey", "StatefulSet")
    args = server["spec"]["template"]["spec"]["containers"][0]["args"]
    pairs = dict(zip(args[::2], args[1::2], strict=True))
    assert pairs["--appendonly"] == "yes"
    assert pairs["--maxmemory-policy"] == "noeviction"
    assert pairs["--requirepass"] == "$(STORE_PASSWORD)"


def test_scaling_by_load_that_is_measured() -> None:
    spec = one("production", "HorizontalPodAutoscaler")["spec"]
    assert [m["type"] for m in spec["metrics"]] == ["ContainerResource", "Pods"]
    assert spec["metrics"][1]["pods"]["metric"] == {"name": "fleetgate_inflight"}
    assert "replicas" not in one("production", "Deployment")["spec"]


def test_opa_comes_before_the_proxy_and_goes_after_it() -> None:
    (opa,) = pod_of("opa-sidecar")["initContainers"]
    assert opa["restartPolicy"] == "Always"
    assert "--addr=127.0.0.1:8181" in opa["args"]
    assert {m["name"] for m in opa["volumeMounts"]} == {"opa"}
    (volume,) = [v for v in pod_of("opa-sidecar")["volumes"] if v["name"] == "opa"]
    assert {item["path"] for item in volume["configMap"]["items"]} == {"night.rego", "data.yaml"}  # other YAML would count as data
    (follower,) = pod_of("opa-bundles")["initContainers"]
    assert "--config-file=/etc/opa/opa.yaml" in follower["args"]
    assert "--watch" not in follower["args"]
    assert "signing" in one("opa-bundles", "ConfigMap", "-opa")["data"]["opa.yaml"]


def test_routes_give_streams_their_time() -> None:
    (route,) = of_kind("gateway", "HTTPRoute")
    assert route["spec"]["rules"][0]["timeouts"] == {"request": "1830s"}
    (ingress,) = of_kind("ingress", "Ingress")
    assert ingress["spec"]["rules"][0]["host"] == "models.example.com"


def test_a_replica_with_a_volume_is_replaced_and_others_roll() -> None:
    assert one("minimal", "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert one("valkey", "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert one("minimal", "PersistentVolumeClaim", "-data")["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_test_pod_sends_a_real_request() -> None:
    (refused,), (asked,) = of_kind("minimal", "Pod"), of_kind("production", "Pod")
    for pod in (refused, asked):
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        (proxy_rule,) = one("minimal", "NetworkPolicy")["spec"]["ingress"]
        assert {"app.kubernetes.io/component": "test"}.items() <= proxy_rule["from"][-1]["podSelector"]["matchLabels"].items()
        assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "test"
    assert "unauthenticated" in refused["spec"]["containers"][0]["args"][0]
    assert "Bearer $KEY" in asked["spec"]["containers"][0]["args"][0]


def test_two_releases_differ_in_every_name() -> None:
    names = []
    for release in ("blue", "green"):
        done = template(
            "-s", "templates/services.yaml", "-s", "templates/configmaps.yaml", "-f", str(VALUES / "valkey.yaml"), release=release
        )
        assert done.returncode == 0, done.stderr
        names.append({line for line in done.stdout.splitlines() if line.startswith(("  name: ", '      tenant: "'))})
    assert names[0]
    assert not names[0] & names[1]


def test_what_a_redis_over_tls_needs_is_mounted_and_nothing_of_it_where_there_is_none() -> None:
    proxy, pod = proxy_of("redis-tls"), pod_of("redis-tls")
    mounts = {m["name"]: m["mountPath"] for m in proxy["volumeMounts"]}
    assert (mounts["store-ca"], mounts["store-client"]) == ("/run/fleetgate/store", "/run/fleetgate/store-client")
    volumes = {v["name"]: v["secret"] for v in pod["volumes"] if "secret" in v}
    assert volumes["store-client"]["secretName"] == "redis-client"
    assert volumes["store-client"]["items"] == [{"key": "tls.crt", "path": "tls.crt"}, {"key": "key.pem", "path": "tls.key"}]
    env = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in proxy["env"] if "valueFrom" in e}
    assert env["STORE_SENTINEL_PASSWORD"] == {"name": "redis", "key": "sentinel"}
    assert not {"store-ca", "store-client"} & {v["name"] for v in pod_of("production")["volumes"]}


def test_workers_are_asked_for_by_a_variable_alone() -> None:
    def variables(name: str, *more: str) -> dict[str, str]:
        return {e["name"]: e.get("value", "") for e in proxy_of(name, *more)["env"]}

    assert variables("redis-tls")["FLEETGATE_LISTEN_WORKERS"] == "2"
    assert variables("config-file", "--set", "workers=4")["FLEETGATE_LISTEN_WORKERS"] == "4"
    assert "FLEETGATE_LISTEN_WORKERS" not in variables("production")


def test_shippers_read_what_the_proxy_reads_and_go_only_where_records_go() -> None:
    spec = one("shipper", "Deployment", "-shipper")["spec"]
    (shipper,) = spec["template"]["spec"]["containers"]
    assert shipper["args"][:7] == ["ledger", "ship", "--follow", "--group", "warehouse", "--to", "env:SHIP_TARGET"]
    assert (spec["replicas"], shipper["image"].rpartition(":")[2]) == (2, "0.1.0-extras")
    assert shipper["image"].rpartition(":")[0] == proxy_of("shipper")["image"].rpartition(":")[0]
    env = {e["name"]: e.get("valueFrom") for e in shipper["env"]}
    assert env["SHIP_TARGET"] == {"secretKeyRef": {"name": "warehouse", "key": "url"}}
    assert env["STORE_PASSWORD"] == {e["name"]: e.get("valueFrom") for e in proxy_of("shipper")["env"]}["STORE_PASSWORD"]
    assert {m["name"] for m in shipper["volumeMounts"]} == {m["name"] for m in proxy_of("shipper")["volumeMounts"]}
    policy = one("shipper", "NetworkPolicy", "-shipper")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert policy["ingress"] == []
    assert [{p["port"] for p in rule["ports"]} for rule in policy["egress"]] == [{53}, {6379}, {6432}]
    hears = one("shipper", "NetworkPolicy", "-valkey")["spec"]["ingress"][0]["from"]
    assert [f["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for f in hears] == ["proxy", "shipper"]
    assert "shipper" not in str([m["metadata"]["name"] for m in render("valkey")])
    service = one("shipper", "Service")["spec"]["selector"]
    assert not service.items() <= spec["template"]["metadata"]["labels"].items(), "no calls are sent to shippers"


def test_a_shipper_to_files_has_a_volume_and_the_proxys_image() -> None:
    more = ("--set", "shipper.existingSecret=", "--set", "shipper.to=parquet:/data/ledger", "--set", "shipper.existingClaim=lake")
    pod = one("shipper", "Deployment", "-shipper", *more, "--set", "shipper.image.tag=")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][6] == "parquet:/data/ledger"
    assert pod["containers"][0]["image"] == proxy_of("shipper")["image"]
    assert next(v for v in pod["volumes"] if v["name"] == "data") == {"name": "data", "persistentVolumeClaim": {"claimName": "lake"}}
