"""What a kill holds for: targets, times and names as people type them, and matching."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.control.rules import KINDS, Kill, Kind, Seen, clean, deny_of, first, kills, known, news, seconds_of, target_of
from proxy.model import Reason

NOW = 1_800_000_000.0
SEEN = Seen("team-a/crawler", "web", "k1", "s-1", ("r-1", "r-bound"), ("gpt-4o", "gpt-4o-2024"))


def kill(kind: Kind, name: str = "*", until: float | None = None, since: float = NOW) -> Kill:
    return Kill(kind, name, "it deletes files", "ann", since, until)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("agent:crawler", ("agent", "crawler")),
        ("  team:web-* ", ("team", "web-*")),
        ("all", ("all", "*")),
        ("model:qwen3:8b", ("model", "qwen3:8b")),
        ("session:a b", ("session", "a b")),
    ],
)
def test_targets(text: str, target: tuple[str, str]) -> None:
    assert target_of(text) == target


@pytest.mark.parametrize("text", ["", "crawler", "agent:", "all:x", "robot:x", "agent:a\nb", "agent:" + "x" * 257, "agent:\x1b[2J", "ALL"])
def test_what_names_nothing_is_refused_in_words_that_print(text: str) -> None:
    with pytest.raises(ValueError, match="names nothing that can be stopped") as e:
        target_of(text)
    assert str(e.value).isprintable()


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("2 d", 172_800), ("1W", 604_800)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0h", "-1h", "1", "h", "1.5h", "999999d", "1y", "\u0661h", "1h\n2h"])
def test_nonsense_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("kind", "name", "held"),
    [
        ("agent", "team-a/crawler", True),
        ("agent", "TEAM-A/Crawler", True),
        ("agent", "team-a/*", True),
        ("agent", "crawler", False),
        ("team", "web", True),
        ("key", "k1", True),
        ("key", "k2", False),
        ("session", "s-*", True),
        ("run", "r-bound", True),
        ("run", "r-2", False),
        ("model", "gpt-4o-2024", True),
        ("model", "claude-*", False),
        ("all", "*", True),
    ],
)
def test_whom_a_kill_is_about(kind: Kind, name: str, held: bool) -> None:
    assert kills(kill(kind, name), SEEN) is held


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "all"])
def test_what_is_not_known_yet_is_not_held(kind: Kind) -> None:
    assert not kills(kill(kind, "*"), Seen())


def test_a_kill_ends_by_itself() -> None:
    board = [kill("team", "x"), kill("agent", "*", until=NOW + 60)]
    assert first(board, SEEN, NOW + 59) is board[1]
    assert first(board, SEEN, NOW + 60) is None


def test_the_refusal_says_who_why_and_until_when() -> None:
    deny = deny_of(kill("agent", "crawler", until=1_800_003_600.0))
    assert deny.reason is Reason.AGENT_KILLED
    assert deny.message == "Agent crawler is stopped by ann until 2027-01-15 09:00:00 UTC: it deletes files."
    assert (deny.rule, deny.resets_at, deny.retry_after_s) == ("kill agent:crawler", 1_800_003_600.0, None)
    assert "fleetgate resume agent:crawler" in deny.remedy
    everything = deny_of(Kill("all", "*", "", "bob", NOW))
    assert (everything.message, everything.rule) == ("All agents are stopped by bob: no reason given.", "kill all")
    assert deny_of(Kill("all", "*", "Stop!", "bob", NOW)).message.endswith("Stop!")
    model = deny_of(kill("model", "gpt-*"))
    assert model.message == "Model gpt-* is stopped by ann: it deletes files."
    assert model.remedy == "Use another model, or ask ann; `fleetgate resume model:gpt-*` lets it go on."


@pytest.mark.parametrize(
    ("kind", "name", "names", "found"),
    [
        ("agent", "crawler", ["crawler"], True),
        ("agent", "Crawler", ["crawler"], True),
        ("agent", "crawlers", ["crawler"], False),
        ("agent", "team-a/*", ["team-a/x"], True),
        ("agent", "team-b/*", ["team-a/x"], False),
        ("model", "gpt-4o", ["gpt-*"], True),
        ("model", "gpt-4*", ["gpt-*"], True),
        ("model", "claude", ["gpt-*"], False),
        ("all", "*", [], True),
        ("session", "s", [], False),
    ],
)
def test_whether_anything_is_known_by_a_name(kind: Kind, name: str, names: list[str], found: bool) -> None:
    assert known(kind, name, names) is found


def test_news() -> None:
    old = [kill("agent", "a"), kill("team", "t")]
    again = kill("agent", "a", since=NOW + 1)
    assert news(old, [*old, again]) == [again]
    assert news(old, old[:1]) == []


@given(st.text(max_size=600))
def test_what_is_shown_prints_and_is_bounded(text: str) -> None:
    said = clean(text, 50)
    assert len(said) <= 50
    assert not said or said.isprintable()
