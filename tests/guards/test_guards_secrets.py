"""Secrets: every format finds a key made by its own rule, what only looks like one is left, nothing is slow, spans are exact."""

from __future__ import annotations

import base64
import json
import random
import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taking import linear

from proxy.guards.data.formats import FORMATS
from proxy.guards.data.vendors import VENDORS
from proxy.guards.secrets import REACH, SecretsGuard

GUARD = SecretsGuard()
DICE = random.Random(7)
LETTERS, HEX = string.ascii_letters + string.digits, "0123456789abcdef"


def some(count: int, letters: str = LETTERS) -> str:
    """Characters that look random."""
    return "".join(DICE.choice(letters) for _ in range(count))


def rules(text: str, surface: str = "prompt") -> list[str]:
    return [hit.rule.removeprefix("secrets/") for hit in GUARD.scan(text, surface)]  # type: ignore[arg-type]


def found(text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in GUARD.scan(text, "prompt")]


MARKED = {
    "aws-access-key": "AKIA" + some(16, string.ascii_uppercase + "234567"),
    "gcp-api-key": "AIza" + some(35),
    "gcp-oauth-secret": "GOCSPX-" + some(28),
    "azure-ad-client-secret": some(3) + "8Q~" + some(34),
    "digitalocean-token": "dop_v1_" + some(64, HEX),
    "anthropic-key": "sk-ant-api03-" + some(93) + "AA",
    "openai-key": "sk-proj-" + some(60) + "T3Blbk" + "FJ" + some(60),
    "huggingface-token": "hf_" + some(34, string.ascii_letters),
    "groq-key": "gsk_" + some(52),
    "github-token": "ghp_" + some(36),
    "github-fine-grained-token": "github_pat_" + some(82),
    "gitlab-token": "glpat-" + some(20),
    "npm-token": "npm_" + some(36),
    "pypi-token": "pypi-AgEIcHlwaS5vcmc" + some(80),
    "rubygems-key": "rubygems_" + some(48, HEX),
    "docker-token": "dckr_pat_" + some(27),
    "terraform-token": some(14) + ".atlasv1." + some(64),
    "vault-token": "hvs." + some(90),
    "doppler-token": "dp.pt." + some(43),
    "pulumi-token": "pul-" + some(40, HEX),
    "age-secret-key": "AGE-SECRET-KEY-1" + some(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"),
    "sentry-user-token": "sntryu_" + some(64, HEX),
    "grafana-token": "glsa_" + some(32) + "_" + some(8, HEX),
    "newrelic-key": "NRAK-" + some(27, string.ascii_uppercase + string.digits),
    "databricks-token": "dapi" + some(32, HEX),
    "slack-bot-token": "xoxb-" + some(12, string.digits) + "-" + some(12, string.digits) + "-" + some(24),
    "slack-webhook": "https://hooks.slack.com/services/T" + some(8) + "/B" + some(8) + "/" + some(24),
    "telegram-token": "1" + some(9, string.digits) + ":AA" + some(33),
    "sendgrid-key": "SG." + some(22) + "." + some(43),
    "mailchimp-key": some(32, HEX) + "-us12",
    "stripe-key": "sk_live_" + some(24),
    "square-token": "sq0atp-" + some(22),
    "shopify-token": "shpat_" + some(32, HEX),
    "linear-key": "lin_api_" + some(40),
    "notion-token": "ntn_" + some(11, string.digits) + some(35),
    "figma-token": "figd_" + some(40),
    "postman-key": "PMAK-" + some(24, HEX) + "-" + some(34, HEX),
    "twilio-key": "SK" + some(32, HEX),
    "onepassword-secret-key": "A3-" + "-".join(some(n, string.ascii_uppercase + string.digits) for n in (6, 6, 5, 5, 5, 5)),
}
PLACES = ("{}", "export KEY={}", '{{"a": "{}"}}', "see `{}`.", "line\\n{}\\nline", "https://host/path?key={}&b=1", "Größe “{}” \u2013 ok")


@pytest.mark.parametrize("id", MARKED)
@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_found_wherever_it_stands(id: str, place: str) -> None:
    text = place.format(MARKED[id])
    hits = GUARD.scan(text, "prompt")
    assert [hit.rule for hit in hits] == [f"secrets/{id}"]
    assert text[hits[0].start : hits[0].end] in MARKED[id]
    assert hits[0].label.isupper()
    assert MARKED[id] not in hits[0].detail


@pytest.mark.parametrize("id", [id for id in MARKED if len(MARKED[id]) > 12])
def test_what_stands_in_its_place_is_left(id: str) -> None:
    key = MARKED[id]
    assert rules(f"use {key[:12]}{'x' * (len(key) - 12)} here") == []
    assert rules(f"use {key[: len(key) // 2]}... here") == []


KEY, WORD = some(32, string.ascii_lowercase + string.digits), "Tr0ub4dor&3"


@pytest.mark.parametrize(
    "text",
    [
        f'api_key = "{KEY}"',
        f"API-KEY: {KEY}",
        f"export SERVICE_TOKEN={KEY}",
        f'"clientSecret": "{KEY}"',
        f'{{"a": "{{\\"token\\": \\"{KEY}\\"}}"}}',
        f'System.setProperty("X_TOKEN", "{KEY}")',
        f"<accessKey>\n  {KEY}\n</accessKey>",
        f"$token .= '{KEY}'",
        f"auth_token ?= {KEY}",
        f"'secret' => '{KEY}'",
    ],
)
def test_a_key_beside_a_telling_name(text: str) -> None:
    assert found(text) == [KEY]


@pytest.mark.parametrize("text", [f'password = "{WORD}"', f"PASSWORD={WORD}", f"pwd: '{WORD}'", f'<add key="DbPassword" value="{WORD}" />'])
def test_a_password_beside_its_name(text: str) -> None:
    assert rules(text) == ["password"]
    assert found(text) == [WORD]


@pytest.mark.parametrize(
    "text",
    [
        "token = get_token(request)",
        "max_tokens: 4096",
        "api_key = os.environ['API_KEY']",
        'api_key = "your_api_key_here"',
        "password: changeme123",
        "password = ${DB_PASSWORD}",
        "token_count: 123456789012",
        "the secret: nobody knows it",
        "author: Jane Doe 2024",
        "checksum: " + some(64, HEX),
        "commit " + some(40, HEX),
        "id: 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "my password is long",
        "Bearer YOUR_TOKEN",
        "curl -u user:password https://host",
        'curl -u "$USER:$PASS" https://host',
        "https://host:8080/path@2x",
        "postgres://user:${PASSWORD}@db/x",
        "-----BEGIN PUBLIC KEY-----\n" + some(200) + "\n-----END PUBLIC KEY-----",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "eyJhbGciOi.eyJzdWIi.x",
        "A{}ghp_".format("b" * 30) + some(36),
        "",
    ],
)
def test_no_secret(text: str) -> None:
    assert rules(text) == []


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(some(64) for _ in range(20)) + "\n-----END RSA PRIVATE KEY-----"
JWT = f"{b64({'alg': 'HS256', 'typ': 'JWT'})}.{b64({'sub': '1234567890', 'name': 'x'})}.{some(43)}"


@pytest.mark.parametrize(
    ("rule", "text", "secret"),
    [
        ("private-key", f"key:\n{PEM}\nend", PEM),
        ("private-key", json.dumps({"k": PEM}), json.dumps(PEM)[1:-1]),
        ("jwt", f"/cb?t={JWT}&x=1", JWT),
        ("header", f"Authorization: Bearer {JWT}", JWT),
        ("header", f"X-Api-Key: {KEY}", KEY),
        ("jwt-base64", f"x {base64.b64encode(JWT.encode()).decode()} y", base64.b64encode(JWT.encode()).decode()),
        ("url-password", f"postgres://app:{WORD.replace('&', 'x')}@db.internal:5432/x", WORD.replace("&", "x")),
        ("curl-user", "curl -s -u 'api:s3cr3tWord' https://host", "api:s3cr3tWord"),
        ("bearer", f"use bearer {KEY} now", KEY),
        ("basic-auth", "Basic " + base64.b64encode(b"joe:s3cr3tWord").decode(), base64.b64encode(b"joe:s3cr3tWord").decode()),
        ("kubernetes-secret", "kind: Secret\nmetadata:\n  name: x\ndata:\n  a: c3VwZXJzZWNyZXQx\n", "c3VwZXJzZWNyZXQx"),
        ("kubernetes-secret", "data:\n  a: c3VwZXJzZWNyZXQx\nkind: Secret\n", "c3VwZXJzZWNyZXQx"),
        ("gcp-service-account", '{"type": "service_account", "project_id": "x"}', '"type": "service_account'),
    ],
)
def test_a_secret_with_a_structure(rule: str, text: str, secret: str) -> None:
    assert (rule, secret) in [(hit.rule.removeprefix("secrets/"), text[hit.start : hit.end]) for hit in GUARD.scan(text, "prompt")]


def test_a_long_key_is_found_whole() -> None:
    (hit,) = GUARD.scan(PEM, "reply")
    assert (hit.start, hit.end) == (0, len(PEM))
    assert len(PEM) > REACH == GUARD.reach


@pytest.mark.parametrize("between", ["\u200b", "\u2060", "\ufeff", "\u00ad", "\U000e0041"])
def test_invisible_characters_do_not_hide_it(between: str) -> None:
    key = MARKED["github-token"]
    text = "é key: " + between.join(key) + " end"
    assert found(text) == [between.join(key)]


def test_wide_letters_do_not_hide_it() -> None:
    key = MARKED["github-token"]
    wide = "".join(chr(ord(c) + 0xFEE0) for c in key)
    assert found(f"a {wide} b") == [wide]


def test_ids_are_unique_and_every_vendor_has_a_name() -> None:
    ids = [f.id for f in FORMATS] + [v.id for v in VENDORS]
    assert len(ids) == len(set(ids))
    assert all(vendor.names and vendor.names[0] == vendor.names[0].lower() for vendor in VENDORS)
    assert len(ids) > 190


@given(st.text(max_size=300))
def test_nothing_raises_and_spans_are_in_order(text: str) -> None:
    hits = GUARD.scan(text, "prompt")
    assert all(0 <= h.start < h.end <= len(text) for h in hits)
    assert all(a.end <= b.start for a, b in pairwise(hits))


@pytest.mark.parametrize(
    "unit",
    [
        "ghp_",
        "password=",
        "token: aaaa",
        "curl -u ",
        "eyJ.",
        "eyJhbGciOiJI.",
        "-----BEGIN PRIVATE KEY-----",
        "kind: secret data: ",
        "://a:b",
        "a@",
        "\u200b",
        "\ufeff=",
        "sk-",
        "A" * 50,
    ],
)
def test_hostile_text_takes_time_by_its_length(unit: str) -> None:
    assert linear(GUARD, unit, "prompt")


def test_a_text_full_of_beginnings_is_a_finding() -> None:
    assert [(hit.rule, hit.open) for hit in GUARD.scan("ghp_ " * 60_000, "prompt")] == [("secrets/crowded", True)]
