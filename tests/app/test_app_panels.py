"""What panels show of counters: amounts in the units that people use."""

from __future__ import annotations

import pytest

from proxy.app.panels import _burned


@pytest.mark.parametrize(("unit", "shown"), [("usd", "0.0015"), ("gco2e", "1.5"), ("tokens", 1_500_000)])
def test_what_burns_is_shown_in_the_units_of_people(unit: str, shown: object) -> None:
    assert _burned([(0, 1_000_000), (600, 500_000)], unit)["points"][-1]["spent"] == shown
