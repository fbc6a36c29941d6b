"""Numbers that JSON can hold and no dialect can mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.wire.translate.given import number, whole
from proxy.wire.translate.hub import Untranslatable


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), True, "1"], ids=lambda v: str(v)[:9])
def test_what_is_no_number_here(value: Any) -> None:
    for read in (number, whole):
        with pytest.raises(Untranslatable):
            read({"n": value}, "n")


@pytest.mark.parametrize("value", [10**19, 1e300, 0.5])
def test_what_is_a_number_and_not_a_whole_one(value: Any) -> None:
    assert number({"n": value}, "n") == value
    with pytest.raises(Untranslatable):
        whole({"n": value}, "n")


@pytest.mark.parametrize("text", ["0", "-1", "2.0", "1000000000000000000", "null"])
def test_what_is(text: str) -> None:
    value = json.loads(text)
    assert number({"n": value}, "n") == whole({"n": value}, "n") == value
