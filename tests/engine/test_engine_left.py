"""What an exchange leaves in memory once it is over: nothing that waits for the garbage collector, which comes seldom here."""

from __future__ import annotations

import gc
from typing import cast

import pytest
from engine_script import ANSWER, ASK, DONE, STREAM, Says, Upstream, play, says, stream
from gate_cases import Look

from proxy.engine.exchange import Exchange
from proxy.engine.inspector import Inspector
from proxy.engine.stage import Stage
from proxy.wire.call import ToolCall


class Holding(Stage):
    """Has replies looked at by what holds its exchange, as guards do."""

    name = "holding"

    def inspect(self, ex: Exchange) -> Inspector | None:
        look = Look("zz", reach=9)
        look.judged.append(cast(ToolCall, ex))
        return look


@pytest.mark.parametrize(("body", "reply"), [(ASK, Says([ANSWER])), (STREAM, stream(says("hello"), DONE))])
def test_what_is_over_leaves_nothing_for_the_collector(body: bytes, reply: Says) -> None:
    gc.collect()
    before = {id(each) for each in gc.get_objects() if isinstance(each, Exchange)}
    gc.disable()
    try:
        upstream = Upstream([reply])
        assert play(body, stages=[Holding()], upstream=upstream).record.outcome == "ok"
        upstream.asked.clear()
        assert not [each for each in gc.get_objects() if isinstance(each, Exchange) and id(each) not in before]
    finally:
        gc.enable()
