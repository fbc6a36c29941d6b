"""Reading budgets/*.yaml: what is meant, and what is wrong where."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.budget.files import load_budgets
from proxy.budget.rules import enforced
from proxy.config import ConfigErrors
from proxy.model import BudgetRule, Reason

GOOD = """\
budgets:
  - name: fleet-month
    scope: {fleet: "*"}
    limit: {usd: 500, tokens: 1000}
    window: month
    warn_at: [0.8, 0.5]
  - {name: soft, scope: {team: payments, agent: "*"}, limit: {usd: "0.10"}, window: day, on_exceed: warn, mode: shadow}
limits:
  - {name: burst, scope: {agent: "*"}, requests: 60, window: minute, concurrency: 8}
  - {name: slots, concurrency: 3}
  - {name: hourly, tokens: 9, input_tokens: 8, window: hour}
  - {name: daily, output_tokens: 7, window: day}
  - {name: weekly, requests: 6, window: week}
"""


def load(tmp_path: Path, text: str) -> tuple[BudgetRule, ...]:
    (tmp_path / "a.yaml").write_text(text)
    return load_budgets(tmp_path, "budgets")[0]


def test_every_entry_becomes_one_rule_a_unit(tmp_path: Path) -> None:
    rules = load(tmp_path, GOOD)
    assert [(r.name, r.unit, r.limit, r.window, r.scope) for r in rules] == [
        ("fleet-month", "usd", 500 * 10**9, "month", ()),
        ("fleet-month", "tokens", 1000, "month", ()),
        ("soft", "usd", 10**8, "day", (("team", "payments"), ("agent", "*"))),
        ("burst", "requests", 60, "rolling 1m", (("agent", "*"),)),
        ("burst", "concurrency", 8, "total", (("agent", "*"),)),
        ("slots", "concurrency", 3, "total", ()),
        ("hourly", "tokens", 9, "rolling 1h", ()),
        ("hourly", "input_tokens", 8, "rolling 1h", ()),
        ("daily", "output_tokens", 7, "rolling 24h", ()),
        ("weekly", "requests", 6, "week", ()),
    ]
    fleet, _, soft, burst, *_ = rules
    assert (fleet.warn_at, fleet.on_exceed, fleet.shadow, fleet.reason) == ((0.5, 0.8), "deny", False, Reason.BUDGET_EXCEEDED)
    assert (soft.on_exceed, soft.shadow) == ("warn", True)
    assert burst.reason == Reason.RATE_LIMITED
    assert str(burst.source) == "budgets/a.yaml:9 limits.burst"


def test_what_happens_when_a_budget_is_gone_and_windows_that_roll(tmp_path: Path) -> None:
    entries = ["local", "{downgrade: gpt-4o-mini}", "'downgrade: local/qwen3:8b'", "downgrade:small"]
    text = "budgets:\n" + "".join(
        [f"  - {{name: b{i}, limit: {{usd: 0}}, window: rolling  7d, on_exceed: {e}}}\n" for i, e in enumerate(entries)]
    )
    rules = load(tmp_path, text)
    assert [r.on_exceed for r in rules] == ["local", "downgrade:gpt-4o-mini", "downgrade:local/qwen3:8b", "downgrade:small"]
    assert {(r.window, r.limit) for r in rules} == {("rolling 7d", 0)}
    assert all(enforced(r) for r in rules), "until something better is found, the limit holds"


def test_files_are_read_in_order_and_an_absent_folder_has_none(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("budgets: [{name: two, limit: {usd: 1}, window: day}]")
    (tmp_path / "a.yaml").write_text("budgets: [{name: one, limit: {usd: 1}, window: day}]")
    (tmp_path / "notes.txt").write_text("not yaml: [")
    (tmp_path / "empty.yaml").write_text("")
    rules, files = load_budgets(tmp_path)
    assert [r.name for r in rules] == ["one", "two"]
    assert [f.name for f in files] == ["a.yaml", "b.yml", "empty.yaml"]
    assert load_budgets(tmp_path / "nowhere") == ((), ())


ENTRY = "budgets:\n  - name: x\n    limit: {usd: 1}\n    window: day\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[1]", 1, "not a mapping"),
        ("budgest: []", 1, "did you mean budgets?"),
        ("budgets: {a: 1}", 1, "not a list"),
        ("budgets: [7]", 1, "not a mapping"),
        (ENTRY + "    limits: 5", 5, "did you mean limit?"),
        (ENTRY + "    scope: {agnet: x}", 5, "did you mean agent?"),
        (ENTRY + "    scope: [x]", 5, "a mapping such as"),
        (ENTRY + "    scope: {agent: 7}", 5, "a name, a glob"),
        (ENTRY + "    warn_at: [80]", 5, "fractions of the limit"),
        (ENTRY + "    on_exceed: dney", 5, "did you mean deny?"),
        (ENTRY + "    on_exceed: downgrade", 5, "deny | warn | local | {downgrade: MODEL}"),
        (ENTRY + "    on_exceed: {downgrade: 'gpt-*'}", 5, "one model's name"),
        (ENTRY + "    on_exceed: {downgrade: [a, b]}", 5, "one model's name"),
        (ENTRY + "    on_exceed: 'downgrade:'", 5, "one model's name"),
        (ENTRY + "    on_exceed: {downgrade: a, local: b}", 5, "{downgrade: MODEL}"),
        (ENTRY + "    on_exceed: {lcoal: a}", 5, "{downgrade: MODEL}"),
        (ENTRY + "    on_exceed: [deny]", 5, "{downgrade: MODEL}"),
        (ENTRY + "    on_exceed: loacl", 5, "did you mean local?"),
        (ENTRY + "    mode: dry", 5, "enforce | shadow"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: rolling 59s}", 2, "from 60s to 366d"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: rolling 367d}", 2, "from 60s to 366d"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: rolling 24}", 2, "rolling 30m"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: rolling -1h}", 2, "rolling 30m"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: rolling 9999999999999d}", 2, "rolling 30m"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: rolling}", 2, "rolling 30m"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: 24h}", 2, "| rolling 24h"),
        ("budgets:\n  - {name: x, limit: {usd: 1}, window: dya}", 2, "did you mean day?"),
        ("budgets:\n  - {name: x, limit: {usd: 1}}", 2, "no window"),
        ("budgets:\n  - {name: x, window: day}", 2, "no limit"),
        ("budgets:\n  - {name: x, limit: {}, window: day}", 2, "no limit"),
        ("budgets:\n  - {name: x, limit: 5, window: day}", 2, "a mapping such as"),
        ("budgets:\n  - {name: x, limit: {eur: 5}, window: day}", 2, "unknown unit"),
        ("budgets:\n  - {name: x, limit: {usd: -1}, window: day}", 2, "dollars such as"),
        ("budgets:\n  - {name: x, limit: {usd: true}, window: day}", 2, "dollars such as"),
        ("budgets:\n  - {name: x, limit: {usd: 1e18}, window: day}", 2, "dollars such as"),
        ("budgets:\n  - {name: x, limit: {usd: .nan}, window: day}", 2, "a finite number"),
        ("budgets:\n  - {name: x, limit: {usd: .inf}, window: day}", 2, "a finite number"),
        ("budgets:\n  - {name: x, limit: {usd: 1e308}, window: day}", 2, "dollars such as"),
        ("budgets:\n  - {name: x, limit: {usd: 1" + "0" * 400 + "}, window: day}", 2, "dollars such as"),
        ("budgets:\n  - {name: x, limit: {usd: [1]}, window: day}", 2, "dollars such as"),
        ("budgets:\n  - {name: x, limit: {tokens: 1.5}, window: day}", 2, "a whole number"),
        ("budgets:\n  - {name: x, limit: {tokens: -1}, window: day}", 2, "a whole number"),
        ("budgets:\n  - {name: x, limit: {input_tokens: .nan}, window: day}", 2, "a finite number"),
        ("budgets:\n  - {name: x, limit: {output_tokens: true}, window: day}", 2, "a whole number"),
        ("limits:\n  - {name: x, concurrency: 1" + "0" * 30 + "}", 2, "a whole number"),
        ("budgets:\n  - {limit: {usd: 1}, window: day}", 2, "no name"),
        ("budgets:\n  - {name: 'a|b', limit: {usd: 1}, window: day}", 2, "letters, digits"),
        ("limits:\n  - {name: x, requests: 5}", 2, "no window"),
        ("limits:\n  - {name: x, window: day}", 2, "no limit"),
        ("limits:\n  - {name: x, requests: 5, window: day, usd: 3}", 2, "unknown key"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path, text)
    (error,) = caught.value.errors
    assert str(error).startswith(f"budgets/a.yaml:{line}: ")
    assert words in str(error)


def test_all_that_is_wrong_is_said_at_once_and_names_are_taken_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ENTRY + "  - {name: x, limit: {usd: 1}, window: day}\n  - {name: y}\n")
    (tmp_path / "b.yaml").write_text("budgets: [{name: x, limit: {usd: 1}, window: day}]")
    (tmp_path / "c.yaml").write_text("a: &b 1")
    with pytest.raises(ConfigErrors) as caught:
        load_budgets(tmp_path)
    texts = [str(e) for e in caught.value.errors]
    assert len(texts) == 4
    assert sum("is taken at" in t and "a.yaml:2" in t for t in texts) == 2


def test_the_examples_of_this_repository_are_valid() -> None:
    rules, files = load_budgets(Path(__file__).parents[2] / "budgets")
    assert files
    assert {r.unit for r in rules} >= {"usd", "requests", "concurrency"}
