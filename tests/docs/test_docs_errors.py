"""docs/errors.md says what the code does: every reason with its status, and examples that are what `refuse` makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.model import STATUS, Deny, Reason
from proxy.wire.refusals import refuse

TEXT = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
ROWS = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", TEXT, re.MULTILINE))
DENIES = {
    "openai": Deny(
        Reason.MODEL_NOT_ALLOWED,
        "Agent invoice-triage may not use model gpt-3.5-turbo: only gpt-4o* is allowed.",
        rule="AGENTS.md:12 policy.models.allow",
        remedy="Ask for gpt-4o-mini.",
    ),
    "anthropic": Deny(
        Reason.BUDGET_EXCEEDED,
        "Budget team-day (day) allows 5.00 USD: 4.88 USD spent, 0.00 USD held by running calls; this call needs at least 0.31 USD.",
        rule="budgets/teams.yaml:3 (team-day)",
        remedy="Wait for the next day, or ask the owner of the budget to raise it.",
        remaining="0.12 USD",
        resets_at=1795305600.0,
    ),
}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_row_and_status(reason: Reason) -> None:
    assert ROWS.get(reason) == str(STATUS[reason])


def test_no_row_names_a_reason_that_is_not_there() -> None:
    assert set(ROWS) == {str(reason) for reason in Reason}


@pytest.mark.parametrize("protocol", DENIES)
def test_examples_are_what_clients_get(protocol: str) -> None:
    found = re.search(rf"<!-- example: {protocol} -->\n```json\n(.*?)\n```", TEXT, re.DOTALL)
    assert found is not None
    answer = refuse(protocol, DENIES[protocol], "019a9e5c-0000")
    example: dict[str, Any] = json.loads(found[1])
    assert example == json.loads(answer.body)
    assert ("x-should-retry", "false") in answer.headers
    assert f"status {answer.status}:" in TEXT[: found.start()].splitlines()[-2]
