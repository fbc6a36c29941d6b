"""What several commands take, and what they say of anything else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from proxy.cli.arguments import seconds, when, whole
from proxy.cli.control import span


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        (whole(240), "1", 1),
        (whole(240), "240", 240),
        (seconds(0.2, 3600), "0.2", 0.2),
        (seconds(0.2, 3600), "3600", 3600.0),
        (when, "2027-01-31T08:00", 1_801_382_400.0),
    ],
)
def test_what_is_taken(type: Callable[[str], Any], text: str, value: float) -> None:
    assert type(text) == value


@pytest.mark.parametrize(
    ("type", "text", "said"),
    [
        *((whole(240), text, "is not a number from 1 to 240") for text in ("0", "241", "1000", "-1", "1.5", "x", "", "\u0663", "9" * 5000)),
        *(
            (seconds(0.2, 3600), text, "is not a number of seconds from 0.2 to 3600")
            for text in ("0.1", "3601", "nan", "inf", "-inf", "x", "")
        ),
        *((when, text, "is not a time") for text in ("soon", "", "9" * 5000 + "d", "2027-13-01")),
        (span, "5%s", "'5%s' is not a length of time"),
    ],
)
def test_what_is_not_is_said_as_it_was_written(type: Callable[[str], Any], text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as e:
        type(text)
    assert said in str(e.value)
    assert len(str(e.value)) < 200


def test_a_sign_that_formats_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--for", type=span)
    with pytest.raises(SystemExit):
        parser.parse_args(["--for", "5%s"])
    assert "'5%s' is not" in capsys.readouterr().err
