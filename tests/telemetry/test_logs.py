from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_samples import SERVED, STRANGER

from proxy.telemetry.logs import AccessLog, quoted, redact, setup

CANARY = "sk-canary-4f9a8b7c6d5e"


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, level = list(root.handlers), root.level
    names = ("fleetgate", "proxy", "aiohttp.access")
    levels = [logging.getLogger(name).level for name in names]
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    for name, old in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(old)


def listen(level: str = "INFO", json_lines: bool = False) -> io.StringIO:
    stream = io.StringIO()
    setup(level, json_lines, stream)
    return stream


def test_one_line_an_exchange() -> None:
    out = listen()
    AccessLog().record(SERVED)
    line = out.getvalue()
    assert line.count("\n") == 1
    assert line.split(" ", 1)[1] == (
        "INFO fleetgate.access exchange id=01jd3k8x9vq2m4n6p8r0s2t4w6 agent=invoice-triage session=s-1 asked=gpt-5 model=gpt-5-mini"
        " provider=openai route=downgrade status=200 outcome=ok in=7042 out=600 usd=0.012345678 ms=1004.0 overhead_ms=3.0\n"
    )


def test_json_lines_have_every_field() -> None:
    out = listen(json_lines=True)
    AccessLog().record(STRANGER)
    line = json.loads(out.getvalue())
    assert line["message"] == "exchange"
    assert (line["level"], line["logger"], line["status"], line["reason"], line["agent"]) == (
        "INFO",
        "fleetgate.access",
        401,
        "unauthenticated",
        "",
    )
    assert line["time"].endswith("Z")
    names = "time level logger message id agent session asked model provider route status outcome reason in out usd ms overhead_ms"
    assert list(line) == names.split()
    assert (line["in"], line["out"], line["usd"], line["ms"]) == (0, 0, "0.00", 1.0)


@pytest.mark.parametrize("json_lines", [False, True])
def test_a_name_that_came_before_looks_the_same_again_and_a_long_one_is_cut(json_lines: bool) -> None:
    out = listen(json_lines=json_lines)
    for _ in range(2):
        AccessLog().record(replace(SERVED, session='odd "name"', model_asked="m" * 5000))
    first, second = out.getvalue().splitlines()
    assert first == second
    assert "m" * 200 in first
    assert "m" * 201 not in first
    assert ('"session":"odd \\"name\\""' if json_lines else 'session="odd \\"name\\""') in first


def test_nothing_is_made_when_the_level_is_off() -> None:
    out = listen("WARNING")
    AccessLog().record(None)  # type: ignore[arg-type]
    assert out.getvalue() == ""


def test_libraries_are_heard_from_warning_on_and_setup_replaces_itself() -> None:
    listen()
    out = listen()
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble")
    logging.getLogger("fleetgate.engine").info("hello %s", "you")
    lines = out.getvalue().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["WARNING some.library trouble", "INFO fleetgate.engine hello you"]


@pytest.mark.parametrize("json_lines", [False, True])
def test_lines_of_a_worker_say_which(json_lines: bool) -> None:
    out = io.StringIO()
    setup(stream=out, json_lines=json_lines, worker=3)
    logging.getLogger("fleetgate.app").warning("hello")
    AccessLog().record(SERVED)
    first, second = out.getvalue().splitlines()
    if json_lines:
        assert [json.loads(line)["worker"] for line in (first, second)] == [3, 3]
    else:
        assert first.endswith(" WARNING fleetgate.app worker=3 hello")
        assert " INFO fleetgate.access worker=3 exchange id=" in second


def test_workers_write_a_line_at_a_time() -> None:
    class Pieces(io.StringIO):
        written: ClassVar[list[str]] = []

        def write(self, text: str) -> int:
            self.written.append(text)
            return len(text)

    async def main() -> None:
        setup(stream=Pieces(), worker=1)
        log = AccessLog()
        for _ in range(3):
            log.record(SERVED)
        await log.close()

    asyncio.run(main())
    assert [piece.count("\n") for piece in Pieces.written] == [1, 1, 1]


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        setup("loud", stream=io.StringIO())


FORGED = 'x" outcome=ok\n2027-01-01T00:00:00.000Z INFO fleetgate.access exchange id=forged\r\x1b[2J\u2028\u202e\x7f\x85'


@pytest.mark.parametrize("json_lines", [False, True])
def test_a_client_cannot_forge_a_line(json_lines: bool) -> None:
    out = listen(json_lines=json_lines)
    AccessLog().record(replace(STRANGER, model_asked=FORGED, session=FORGED))
    logging.getLogger("fleetgate.engine").error("odd name %s", FORGED)
    lines = out.getvalue().split("\n")
    assert len(lines) == 3
    assert all(line.replace("\x7f", "").isprintable() for line in lines)
    if json_lines:
        assert json.loads(lines[0])["asked"] == FORGED


@given(st.text())
def test_a_quoted_value_is_one_word_or_one_json_string(text: str) -> None:
    made = quoted(text[:100])
    assert made.isprintable()
    if made.startswith('"'):
        assert json.loads(made) == text[:100]
    else:
        assert made == text[:100]
        assert not {" ", "=", '"'} & set(made)


def test_long_values_are_cut() -> None:
    assert len(quoted("x" * 10_000)) < 250


@pytest.mark.parametrize("json_lines", [False, True])
@pytest.mark.parametrize(
    "message",
    [
        f"Authorization: Bearer {CANARY}",
        f"{{'authorization': 'Bearer {CANARY}', 'Host': 'x'}}",
        f"headers ((b'Host', b'x'), (b'X-Api-Key', b'{CANARY}'))",
        f"<CIMultiDict('Authorization': 'Bearer {CANARY}', 'api-key': \"{CANARY}\")>",
        f"b'x-goog-api-key: {CANARY}\\r\\n'",
        f"GET /v1/models?alt=sse&key={CANARY}&x=1",
        f"OPENAI_API_KEY={CANARY}",
        f"connecting with {CANARY} failed",
        "FLEETGATE_ADMIN_TOKEN=canary-4f9a8b7c6d5e",
    ],
)
def test_a_credential_in_a_message_or_a_traceback_is_blanked(json_lines: bool, message: str) -> None:
    out = listen(json_lines=json_lines)
    logging.getLogger("some.library").warning(message)
    logging.getLogger("some.library").warning("with %s", message)
    try:
        raise RuntimeError(message)
    except RuntimeError:
        logging.getLogger("fleetgate.engine").exception("failed")
    text = out.getvalue()
    assert text.count("[redacted]") >= 3
    assert "canary" not in text


@pytest.mark.parametrize("text", ["max_tokens 5", "the key of agent a is unknown", "tokens: 100 in", "basics", "risk-free"])
def test_plain_words_are_left_alone(text: str) -> None:
    assert redact(text) == text


def test_redacting_is_quick_on_hostile_text() -> None:
    assert redact("a-" * 100_000).endswith("…")
    assert len(redact("key" * 100_000)) < 5000


def test_requests_with_a_key_in_the_url_are_not_logged_by_the_server_library() -> None:
    out = listen("DEBUG")
    logging.getLogger("aiohttp.access").info('127.0.0.1 "GET /v1/models?key=%s HTTP/1.1" 200', "AIza")
    assert out.getvalue() == ""


def test_a_traceback_stays_under_its_line() -> None:
    out = listen()
    try:
        raise RuntimeError("bad\nINFO forged")
    except RuntimeError:
        logging.getLogger("fleetgate.engine").exception("failed")
    head, *rest = out.getvalue().rstrip("\n").split("\n")
    assert head.endswith("ERROR fleetgate.engine failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_a_stream_that_is_gone_stops_nothing() -> None:
    out = listen()
    out.close()
    AccessLog().record(SERVED)
