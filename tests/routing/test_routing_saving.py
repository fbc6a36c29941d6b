"""When moving a conversation pays, and what is remembered of it."""

from __future__ import annotations

import pytest

from proxy.model import FREE, Price, Usage
from proxy.routing.memory import BACK, Conversations, Last, task_of
from proxy.routing.saving import Turn, gain, kept_of, loss, pays
from proxy.wire.call import Message, ToolResult


def usd(amount: float) -> tuple[tuple[int, int], ...]:
    return ((0, int(amount * 1_000_000_000)),)


SONNET = Price(usd(3), usd(15), usd(0.3), usd(3.75))
MINI = Price(usd(0.15), usd(0.6), usd(0.075))
PLAIN = Price(usd(3), usd(15))


@pytest.mark.parametrize(
    ("turn", "here", "there", "moves"),
    [
        (Turn(200, 0, 300), SONNET, FREE, True),
        (Turn(2_000, 1_500, 400), SONNET, FREE, True),
        (Turn(50_000, 49_000, 400), SONNET, FREE, False),
        (Turn(50_000, 49_000, 20_000), SONNET, FREE, True),
        (Turn(50_000, 49_000, 400), PLAIN, FREE, True),
        (Turn(5_000, 4_500, 100), MINI, FREE, True),
        (Turn(50_000, 49_000, 400), MINI, SONNET, False),
        (Turn(200, 0, 300), MINI, SONNET, True),
        (Turn(2_000, 9_000, 100), SONNET, FREE, False),
    ],
)
def test_a_conversation_moves_where_that_saves_more_than_it_loses(turn: Turn, here: Price, there: Price, moves: bool) -> None:
    assert pays(turn, here, there) is moves


def test_the_parts_are_what_tokens_cost() -> None:
    turn = Turn(10_000, 8_000, 500)
    assert gain(turn, SONNET, FREE) == 2_000 * 3_000 + 8_000 * 300 + 500 * 15_000
    assert loss(turn, SONNET) == 8_000 * (3_750 - 300)
    assert loss(turn, PLAIN) == 0
    assert gain(turn, MINI, SONNET) < 0


@pytest.mark.parametrize(
    ("usage", "protocol", "age", "price", "kept"),
    [
        (Usage(5_000), "openai", 10, SONNET, 5_000),
        (Usage(1_000, cache_read=4_000), "openai", 10, SONNET, 5_000),
        (Usage(5_000), "openai", 301, SONNET, 0),
        (Usage(1_023), "openai", 10, SONNET, 0),
        (Usage(5_000), "openai", 10, PLAIN, 0),
        (Usage(5_000), "anthropic", 10, SONNET, 0),
        (Usage(100, cache_read=4_000, cache_write=500), "anthropic", 10, SONNET, 4_500),
        (Usage(100, cache_write_1h=4_000), "anthropic", 3_000, SONNET, 4_000),
        (Usage(100, cache_write_1h=4_000), "anthropic", 3_601, SONNET, 0),
    ],
)
def test_what_a_provider_keeps(usage: Usage, protocol: str, age: float, price: Price, kept: int) -> None:
    assert kept_of(usage, protocol, age, price) == kept


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    known, last = Conversations(2), Last(True, 1, Usage(), "openai", 0.0)
    for name in ("a", "b", "a", "c"):
        known.put((name, 0, "m", 0), last)
    assert known.get(("b", 0, "m", 0)) is None
    assert known.get(("a", 0, "m", 0)) is last
    assert known.get(("c", 0, "m", 0)) is last


def test_the_task_of_a_turn_is_what_the_user_said_last() -> None:
    asks, other = Message(b"1", "user", ("do it",)), Message(b"2", "user", ("and that",))
    result = Message(b"3", "user", ("text beside it",), tool_results=(ToolResult("1", b"d"),))
    assert task_of([asks, result]) == task_of([Message(b"marked", "user", ("do it",)), result, result]) != 0
    assert task_of([asks, other]) != task_of([asks])
    assert task_of([result]) == 0
    assert task_of([asks, *[result] * BACK]) == 0
