"""The chart, rendered by a real Helm: `scripts/tools.py` says where that is. Each set of values is rendered once a test run."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from simulating import ROOT

CHART = ROOT / "charts" / "fleetgate"
VALUES = Path(__file__).parent / "charts" / "values"
SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))
RELEASE, NAMESPACE, KUBE = "demo", "fleets", "1.37.0"
Manifest = dict[str, Any]


@cache
def _asked() -> tuple[str, str]:
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "helm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


needs_helm = pytest.mark.skipif(not _asked()[0], reason=_asked()[1] or "no Helm")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm with nothing of this machine's configuration."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HELM_", "KUBE"))}
    env["HELM_CONFIG_HOME"] = env["HELM_CACHE_HOME"] = env["HELM_DATA_HOME"] = "/nonexistent"
    return subprocess.run([_asked()[0], *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


def template(*arguments: str, release: str = RELEASE) -> subprocess.CompletedProcess[str]:
    """`helm template` of the chart."""
    return helm("template", release, str(CHART), "--kube-version", KUBE, "--namespace", NAMESPACE, *arguments)


@cache
def render(name: str, *more: str) -> tuple[Manifest, ...]:
    """Return the manifests of one set of values; do not change them."""
    done = template("-f", str(VALUES / f"{name}.yaml"), *more)
    assert done.returncode == 0, done.stderr
    return tuple(m for m in yaml.load_all(done.stdout, yaml.CSafeLoader) if m)


def of_kind(name: str, kind: str, *more: str) -> list[Manifest]:
    """Return the manifests of one kind."""
    return [m for m in render(name, *more) if m["kind"] == kind]


def one(name: str, kind: str, suffix: str = "", *more: str) -> Manifest:
    """Return the one manifest of `kind` whose name ends with `suffix`, without which it is the release's own."""
    release = of_kind(name, "Deployment", *more)[0]["metadata"]["name"]
    (found,) = [m for m in of_kind(name, kind, *more) if m["metadata"]["name"] == release + suffix]
    return found


def pod_of(name: str, *more: str) -> Manifest:
    """Return the pod of the proxy's Deployment."""
    pod: Manifest = one(name, "Deployment", "", *more)["spec"]["template"]["spec"]
    return pod


def proxy_of(name: str, *more: str) -> Manifest:
    """Return the proxy's container."""
    container: Manifest = next(c for c in pod_of(name, *more)["containers"] if c["name"] == "fleetgate")
    return container


class Volume:
    """A volume of files as the kubelet keeps it: a folder for each version, a link `..data` that is swapped, and a link for each name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._version = folder, 0

    def write(self, files: dict[str, str]) -> None:
        """Replace all files in one step."""
        self._version += 1
        new = self.folder / f"..2026_01_01.{self._version}"
        for path, text in files.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_text(text, encoding="utf-8")
        swap = self.folder / "..data_tmp"
        swap.symlink_to(new.name)
        swap.rename(self.folder / "..data")
        for top in {Path(path).parts[0] for path in files}:
            if not (self.folder / top).is_symlink():
                (self.folder / top).symlink_to(Path("..data") / top)


class Root:
    """The proxy's part of a pod's file system and environment in a folder; what Secrets of others hold is made up."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self.folder = name, folder
        self.volumes = dict[str, Volume]()
        pod, container = pod_of(name), proxy_of(name)
        by_name = {v["name"]: v for v in pod["volumes"]}
        for mount in container["volumeMounts"]:
            at = folder / mount["mountPath"].lstrip("/")
            at.mkdir(parents=True)
            files = self._files(by_name[mount["name"]])
            if files is not None:
                self.volumes[mount["name"]] = Volume(at)
                self.volumes[mount["name"]].write(files)
        self.env = {e["name"]: self.here(e.get("value", "x" * 16)) for e in container["env"]}
        self.config = folder / "etc/fleetgate/config/fleetgate.yaml"

    def here(self, text: str) -> str:
        """Return a text with the pod's paths in this folder."""
        for top in ("/etc/fleetgate", "/run/fleetgate", "/data"):
            text = text.replace(top, str(self.folder) + top)
        return text

    def _files(self, volume: Manifest) -> dict[str, str] | None:
        if "configMap" in volume:
            source, kind = volume["configMap"], "ConfigMap"
        elif "secret" in volume:
            source, kind = {**volume["secret"], "name": volume["secret"]["secretName"]}, "Secret"
        else:
            return None
        found = [m for m in of_kind(self._name, kind) if m["metadata"]["name"] == source["name"]]
        if not found:
            return dict(FOREIGN[source["name"]])
        data = {k: base64.b64decode(v).decode() if kind == "Secret" else v for k, v in found[0]["data"].items()}
        items = source.get("items") or [{"key": k, "path": k} for k in data]
        return {item["path"]: self.here(data[item["key"]]) for item in items}


FOREIGN = {
    "provider-keys": {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"},
    "our-budgets": {"fleet.yaml": "budgets: []\n"},
    "our-policies": {"night.rego": 'package fleetgate.request.night\n\ndeny contains "no" if input.agent.id == "owl"\n'},
    "agent-keys": {"keys.yaml": "keys: []\n"},
    "redis-client": {"tls.crt": "-----BEGIN CERTIFICATE-----\n", "tls.key": "-----BEGIN PRIVATE KEY-----\n"},
    "redis-ca": {"ca.crt": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"},
}
"""What Secrets and ConfigMaps hold that the chart only refers to."""
