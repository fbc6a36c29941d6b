"""docker-compose.yaml is valid by the Compose specification, holds no secret, and its settings are ones that `fleetgate check` takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from simulating import ROOT

import proxy
from proxy.cli import main

TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = FILE["services"]


def test_it_is_valid_by_the_specification() -> None:
    assert sorted(PyCompose.from_yaml(TEXT).service_names()) == ["fleetgate", "opa", "valkey"]


@pytest.mark.parametrize("wrong", ["servces: {}", "services: {a: {image: x, port: 1}}", "services: {a: {read_only: [maybe]}}"])
def test_the_specification_would_notice(wrong: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        PyCompose.from_yaml(wrong)


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_with_as_little_as_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert set(service["networks"]) <= set(FILE["networks"])
    assert {v.split(":")[0] for v in service["volumes"] if v[0] != "."} <= set(FILE["volumes"])


def test_only_the_proxy_leads_out() -> None:
    assert {name for name, network in FILE["networks"].items() if not network.get("internal")} == {"out"}
    assert [name for name, service in SERVICES.items() if "out" in service["networks"]] == ["fleetgate"]
    assert [name for name, service in SERVICES.items() if "fleet" in service["networks"]] == ["fleetgate"]


def test_there_is_no_default_secret() -> None:
    for name in ("VALKEY_PASSWORD", "FLEETGATE_ADMIN_TOKEN"):
        assert f"${{{name}:?" in TEXT
        assert f"${{{name}:-" not in TEXT
    assert SERVICES["fleetgate"]["image"] == f"fleetgate:{proxy.__version__}"


def test_check_takes_its_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in SERVICES["fleetgate"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{(\w+):-\}", "", re.sub(r"\$\{(\w+):\?[^}]*\}", "x" * 24, value)))
    command = SERVICES["fleetgate"]["command"]
    assert command[:2] == ["serve", "--quickstart"]
    assert main(["check", "--quickstart", "--config", str(ROOT / "fleetgate.yaml")]) == 0
    out = capsys.readouterr()
    assert "is no setting" not in out.out + out.err
