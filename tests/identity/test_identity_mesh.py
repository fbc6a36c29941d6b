"""SPIFFE ids that a mesh vouches for: from whom they count, and which of several."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from multidict import CIMultiDict

from proxy.engine.exchange import Exchange
from proxy.engine.ports import Client, SystemClock
from proxy.identity.directory import Directory
from proxy.identity.keys import KeyEntry, KeyRing, hash_key
from proxy.identity.mapping import AgentMap
from proxy.identity.mesh import MAX_HEADER, XFCC, Mesh, last_id
from proxy.identity.stage import IdentityStage
from proxy.model import Deny, Principal, Reason

ME = "spiffe://td/ns/a/sa/me"
MESH = Mesh(XFCC, [ip_network("127.0.0.0/8"), ip_network("fd00::/8")], AgentMap([("spiffe://td/ns/{ns}/sa/{sa}", "{ns}/{sa}")]))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (f"URI={ME}", ME),
        (f'By=spiffe://td/ns/x/sa/us;Hash=ab12;Subject="CN=\\"a,b;URI=spiffe://td/ns/evil/sa/x\\"";URI={ME}', ME),
        (f'By=spiffe://td/ns/x/sa/us;Hash=ab12;Subject="";URI={ME};DNS=a;DNS=b', ME),
        (f"URI=spiffe://td/ns/evil/sa/x,Hash=1;URI={ME}", ME),
        (f"URI={ME}, By=x", ""),
        (f"URI={ME},", ""),
        (f"uri={ME}", ME),
        (f'URI="{ME}"', ME),
        (f"URI={ME};URI=spiffe://td/ns/b/sa/b", ""),
        ("URI=", ""),
        ("URI=https://td/ns/a", ""),
        ("URI=spiffe://td", ""),
        ("URI=spiffe://TD/a", ""),
        ("URI=spiffe://td/a/../b", ""),
        ("URI=spiffe://td/a/", ""),
        ("URI=spiffe://td/a?b", ""),
        ("URI=spiffe://td/a%2fb", ""),
        (f"URI={ME}\n", ""),
        (f'Subject="open;URI={ME}', ""),
        (f'Subject="a"b;URI={ME}', ""),
        (ME, ""),
        ("", ""),
        (";;", ""),
        ("URI=" + "spiffe://td/" + "a" * 2048, ""),
        (f"URI={ME}" + ";DNS=a" * MAX_HEADER, ""),
        ("a=" + " " * 16_000 + '"', ""),
        ('a="' + "\\" * 16_000, ""),
    ],
)
def test_the_last_element_names_the_caller(header: str, name: str) -> None:
    assert last_id(header) == name


@pytest.mark.parametrize("peer", ["127.0.0.6", "::ffff:127.0.0.1", "fd00::1"])
def test_it_counts_from_the_proxies_of_the_mesh(peer: str) -> None:
    found = MESH.prove(CIMultiDict({XFCC: f"URI={ME}"}), peer)
    assert isinstance(found, Principal)
    assert found.agent == "a/me"
    assert found.key_id.startswith("spiffe:")


@pytest.mark.parametrize("peer", ["10.0.0.1", "::1", "", "unix", "127.0.0.1.evil", "::ffff:10.0.0.1", "fe80::1%eth0"])
def test_from_elsewhere_it_is_as_if_it_were_not_there(peer: str) -> None:
    assert MESH.prove(CIMultiDict({XFCC: f"URI={ME}"}), peer) is None


def test_without_the_header_it_says_nothing() -> None:
    assert MESH.prove(CIMultiDict({}), "127.0.0.1") is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["junk"], Reason.UNAUTHENTICATED),
        ([f"URI={ME}", f"URI={ME}"], Reason.UNAUTHENTICATED),
        (["URI=spiffe://other/x"], Reason.UNKNOWN_AGENT),
        (["URI=spiffe://td/ns/a/sa/Me"], Reason.UNKNOWN_AGENT),
    ],
)
def test_a_header_that_proves_nobody_refuses(values: list[str], reason: Reason) -> None:
    found = MESH.prove(CIMultiDict([(XFCC, v) for v in values]), "127.0.0.1")
    assert isinstance(found, Deny)
    assert found.reason is reason


def ask(tmp_path: Path, peer: str, **headers: str) -> tuple[Deny | None, Exchange]:
    (tmp_path / "AGENTS.md").write_text("---\nagents:\n  - {name: a/me}\n  - {name: other}\n---\n")
    ring = KeyRing([KeyEntry("other", hash_key("fg-other"))])
    ex = Exchange(cast(Any, None), SystemClock(), cast(Client, None), "openai")
    ex.headers, ex.peer = CIMultiDict({k.replace("_", "-"): v for k, v in headers.items()}), peer
    stage = IdentityStage(Directory.load(tmp_path, ["AGENTS.md"], None), lambda: ring, "keys", mesh=MESH)
    return asyncio.run(stage.request(ex)), ex


def test_the_mesh_counts_before_a_key(tmp_path: Path) -> None:
    deny, ex = ask(tmp_path, "127.0.0.1", x_forwarded_client_cert=f"URI={ME}", x_api_key="fg-other")
    assert deny is None
    assert ex.agent == "a/me"
    deny, ex = ask(tmp_path, "127.0.0.1", x_api_key="fg-other")
    assert deny is None
    assert ex.agent == "other"


def test_who_sends_the_header_from_elsewhere_needs_a_key(tmp_path: Path) -> None:
    deny, ex = ask(tmp_path, "10.0.0.1", x_forwarded_client_cert=f"URI={ME}")
    assert deny is not None
    assert deny.reason is Reason.UNAUTHENTICATED
    assert not hasattr(ex, "grant")
    deny, ex = ask(tmp_path, "10.0.0.1", x_forwarded_client_cert=f"URI={ME}", x_api_key="fg-other")
    assert deny is None
    assert ex.agent == "other"


def test_a_workload_cannot_name_another_agent(tmp_path: Path) -> None:
    deny, _ = ask(tmp_path, "127.0.0.1", x_forwarded_client_cert=f"URI={ME}", x_fleetgate_agent="other")
    assert deny is not None
    assert deny.message == "The SPIFFE id is for agent a/me and cannot act as other."
