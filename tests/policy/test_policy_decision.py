"""What packages say together: a table of documents, and what may never become a permission."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Source
from proxy.policy.decision import Package, PolicyFault, decide

PLAIN = Package("fleetgate.request", "request", Source("p.rego", 1))
ALLOWS = Package("fleetgate.request", "request", Source("p.rego", 1), allows=True)
DRY = Package("fleetgate.request", "request", Source("p.rego", 1), shadow=True)

CASES: list[tuple[Package, Any, list[str]]] = [
    (PLAIN, {}, []),
    (PLAIN, {"deny": []}, []),
    (PLAIN, {"deny": False}, []),
    (PLAIN, {"deny": ["a", {"message": "b", "rule": "r"}]}, ["a", "b"]),
    (PLAIN, {"deny": True}, ["fleetgate.request.deny holds"]),
    (PLAIN, {"deny": [""]}, ["fleetgate.request.deny holds"]),
    (PLAIN, {"deny": [{"rule": "r"}]}, ["r"]),
    (PLAIN, None, ["the policy engine does not know package fleetgate.request"]),
    (PLAIN, [], ["the policy engine does not know package fleetgate.request"]),
    (ALLOWS, {"allow": True}, []),
    (ALLOWS, {"allow": True, "deny": ["a"]}, ["a"]),
    (ALLOWS, {"allow": False}, ["fleetgate.request does not allow it"]),
    (ALLOWS, {}, ["fleetgate.request does not allow it"]),
    (ALLOWS, {"deny": ["a"]}, ["a"]),
    (PLAIN, {"require_approval": ["payment"]}, ["a person must approve this: payment"]),
    (PLAIN, {"deny": ["a\x1b[31m\n" + "b" * 500]}, ["a [31m " + "b" * 393]),
]


@pytest.mark.parametrize(("package", "document", "expected"), CASES)
def test_refusals(package: Package, document: Any, expected: list[str]) -> None:
    assert [ruling.message for ruling in decide([package], document).denials] == expected


@pytest.mark.parametrize(
    "document",
    [
        {"deny": {"a": True}},
        {"deny": "a"},
        {"deny": 1},
        {"deny": [1]},
        {"deny": [{"message": "a", "severity": "high"}]},
        {"deny": [{"message": 1}]},
        {"deny": ["x"] * 65},
        {"warn": "a"},
        {"limit_output": 0},
        {"limit_output": True},
        {"limit_output": 1.5},
        {"limit_output": "many"},
        {"route": ""},
        {"route": ["m"]},
        {"redact": "x"},
        {"redact": [""]},
        {"require_approval": {}},
    ],
)
def test_what_means_nothing_is_a_fault(document: Any) -> None:
    with pytest.raises(PolicyFault):
        decide([PLAIN], document)


@pytest.mark.parametrize("value", [1, "yes", [], {}, [True]])
def test_allow_is_true_or_no_permission(value: Any) -> None:
    with pytest.raises(PolicyFault, match="allow is not true or false"):
        decide([ALLOWS], {"allow": value})


def test_duties() -> None:
    found = decide([PLAIN], {"limit_output": 5.0, "route": "m", "redact": ["s"], "warn": ["w"]})
    assert found.limit_output == (5, PLAIN)
    assert found.route == ("m", PLAIN)
    assert found.redact == [("s", PLAIN)]
    assert [w.message for w in found.warnings] == ["w"]


def test_a_dry_package_owes_nothing_and_never_hides_another() -> None:
    found = decide([DRY], {"limit_output": 5, "route": "m", "deny": ["d"]})
    assert (found.limit_output, found.route, found.redact) == (None, None, [])
    assert [w.message for w in found.warnings] == ["would limit_output", "would route"]
    assert found.refusal is not None
    assert found.refusal.package.shadow
    strict = Package("fleetgate.request.z", "request", Source("z.rego", 1))
    both = decide([DRY, strict], {"deny": ["d"], "z": {"deny": ["e"]}}).refusal
    assert both is not None
    assert both.message == "e"


def test_packages_that_disagree_on_the_route_are_a_fault_and_the_smaller_limit_wins() -> None:
    other = Package("fleetgate.request.z", "request", Source("z.rego", 1))
    with pytest.raises(PolicyFault, match=r"routes to n, fleetgate.request to m"):
        decide([PLAIN, other], {"route": "m", "z": {"route": "n"}})
    limits = decide([PLAIN, other], {"limit_output": 9, "z": {"limit_output": 4}}).limit_output
    assert limits == (4, other)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["allow", "deny", "message", "x"]), inner, max_size=3)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), _nested, max_leaves=8)


@given(JSON)
def test_nothing_but_true_allows(document: Any) -> None:
    try:
        found = decide([ALLOWS], document)
    except PolicyFault:
        return
    assert found.denials or (isinstance(document, dict) and document.get("allow") is True)
