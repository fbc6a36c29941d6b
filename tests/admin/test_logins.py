from __future__ import annotations

from proxy.admin.logins import IDLE_S, LASTS_S, MOST, TRIES, WINDOW_S, Logins, proves

NOW = 1_800_000_000.0


def test_a_login_is_found_by_its_secret_alone() -> None:
    logins = Logins()
    secret, login = logins.begin(NOW)
    other, _ = logins.begin(NOW)
    assert secret != other
    assert logins.of(secret, NOW + 1) is login
    assert logins.of("", NOW) is None
    assert logins.of(secret[:-1], NOW) is None
    assert secret not in repr(vars(logins))


def test_a_login_ends_with_its_time_its_use_its_owner_and_a_clock_set_back() -> None:
    logins = Logins()
    secret, login = logins.begin(NOW)
    at = NOW
    while at < NOW + LASTS_S - IDLE_S / 2:
        at += IDLE_S / 2
        assert (logins.of(secret, at) is login) == (at < NOW + LASTS_S)
    assert logins.of(secret, NOW + LASTS_S) is None

    idle, _ = logins.begin(NOW)
    assert logins.of(idle, NOW + IDLE_S) is None
    assert logins.of(idle, NOW + 1) is None  # and it does not come back

    ended, _ = logins.begin(NOW)
    logins.end(ended)
    assert logins.of(ended, NOW) is None

    back, _ = logins.begin(NOW)
    assert logins.of(back, NOW - 60) is None


def test_only_so_many_are_signed_in_and_the_one_used_longest_ago_goes() -> None:
    logins = Logins()
    first, _ = logins.begin(NOW)
    second, _ = logins.begin(NOW)
    for _ in range(MOST - 2):
        logins.begin(NOW)
    assert logins.of(first, NOW + 1)
    logins.begin(NOW + 2)
    assert logins.of(first, NOW + 3)
    assert logins.of(second, NOW + 3) is None
    logins.begin(NOW + LASTS_S)
    assert len(logins._open) == 1  # those that are over are not kept


def test_an_address_waits_after_too_many_wrong_tokens_and_no_other_does() -> None:
    logins = Logins()
    for _ in range(TRIES):
        assert logins.wait_s("10.0.0.1", NOW) == 0
        logins.wrong("10.0.0.1", NOW)
    assert logins.wait_s("10.0.0.1", NOW + 1) == WINDOW_S - 1
    assert logins.wait_s("10.0.0.2", NOW + 1) == 0
    assert logins.wait_s("10.0.0.1", NOW + WINDOW_S) == 0
    logins.wrong("10.0.0.1", NOW + WINDOW_S)
    assert logins.wait_s("10.0.0.1", NOW + WINDOW_S) == 0
    assert logins.wait_s("10.0.0.1", NOW - 3600) == 0  # a clock that was set back locks nobody out


def test_only_so_many_addresses_are_remembered() -> None:
    logins = Logins()
    for i in range(MOST + 50):
        logins.wrong(f"10.0.{i // 256}.{i % 256}", NOW)
    assert len(logins._wrong) == MOST


def test_a_change_needs_the_second_secret_of_its_own_login() -> None:
    logins = Logins()
    (secret, login), (_, other) = logins.begin(NOW), logins.begin(NOW)
    assert proves(login, login.csrf)
    assert not proves(login, other.csrf)
    assert not proves(login, "")
    assert not proves(login, secret)
    assert not proves(login, "\udcff")
