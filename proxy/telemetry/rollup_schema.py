"""The tables of a rollup, and the statements that add a stretch of records to them.

Decides what is summed by what. Amounts are those of the records: nano-dollars, tokens, nanoseconds. `hour` and `slot` are the UTC seconds
at which a stretch begins (in `days` that is a day). Tables are made anew with another `VERSION`, so nothing here ever migrates. What can
be read from the ledger itself by one of its indices, within bounds, is not kept twice. What goes when is `KEPT`.

    hours      what each agent did in an hour, by model and route; the hour first, so that what is written together stands together
    totals     the same without agents: what the fleet and its teams did
    agents     what each agent did in an hour, in one row: a fleet of many agents has several times fewer of them
    days       the same by day
    denied     what was refused in an hour, by reason and rule
    versions   under which policies an agent was served, from when to when
    runs       which sessions draw from another one's run, or from one with a name
    notes      what was refused, and what would have been; loop signals, with the session in place of a reason
    burn       what counters that agents share were charged in ten minutes
    spenders   by whom
"""

# ruff: noqa: S608 - statements are put together from names and parts of ours alone; values are bound

from __future__ import annotations

VERSION = 5
MAX_NAME = 200
"""Characters of a model's name. What was refused before it was routed may name anything: it counts without a name."""
SLOT_S, HOUR_S, DAY_S = 600, 3600, 86_400
TABLES = ("hours", "totals", "agents", "days", "denied", "versions", "runs", "notes", "burn", "spenders", "reached")
EDGES_MS = tuple(50 << i for i in range(12))
"""Upper edges of the histogram of durations, in ms; the last column has what took longer."""
TIMES = tuple(f"took{i}" for i in range(len(EDGES_MS) + 1))
BY = ("hour", "agent", "team", "asked", "model", "provider", "route")
BY_AGENT = ("hour", "agent", "team")
BRIEF: tuple[str, ...] = ("calls", "refused", "input", "cached", "output", "cost", "saved", "loops", "wasted")
BRIEF += ("carbon_low", "carbon", "energy_low", "energy")
"""What a bill or a report sums, in the order of `grouping.Sum`."""
ROUTED = ("chats", "chat_cost", "local", "back", "would", "would_save")
SUMS: tuple[str, ...] = (*BRIEF, *ROUTED, "sent", "ns", "streams", "ttft_ns", *TIMES)
LONG_DAYS, MIDDLE_DAYS, SHORT_DAYS = 800, 70, 2
KEPT = {
    "hours": ("hour", SHORT_DAYS),
    "agents": ("hour", MIDDLE_DAYS),
    "totals": ("hour", LONG_DAYS),
    "days": ("hour", LONG_DAYS),
    "denied": ("hour", LONG_DAYS),
    "burn": ("slot", LONG_DAYS),
    "versions": ("last", LONG_DAYS),
}
"""For how many days at least sums stay, where records are deleted, and the column that says how old they are. What has nearly as many
rows as the ledger goes with the records; what an agent did in an hour stays long enough for a report that compares months; its days, and
hours of teams and budgets stay for two years: they are few whatever is recorded."""


def _table(name: str, by: tuple[str, ...], sums: tuple[str, ...] = SUMS) -> str:
    columns = ", ".join(f"{column} {'INTEGER' if column in ('hour', *SUMS) else 'TEXT'} NOT NULL" for column in (*by, *sums))
    return f"CREATE TABLE main.{name} ({columns}, PRIMARY KEY ({', '.join(by)})) WITHOUT ROWID"


_BY_ALL = tuple(name for name in BY if name != "agent")
DDL = (
    "CREATE TABLE main.reached (upto INTEGER NOT NULL, last TEXT NOT NULL, as_of REAL NOT NULL)",
    _table("hours", BY),
    _table("totals", _BY_ALL),
    _table("agents", BY_AGENT, (*BRIEF, *ROUTED)),
    _table("days", BY_AGENT, BRIEF),
    _table("denied", ("hour", "reason", "rule"), ("calls",)),
    "CREATE TABLE main.versions (agent TEXT, policy_digest TEXT, file_digest TEXT, version TEXT, first REAL,"
    " last REAL, calls INTEGER, PRIMARY KEY (agent, policy_digest, file_digest, version)) WITHOUT ROWID",
    "CREATE TABLE main.runs (run TEXT, session TEXT, last REAL, first_seq INTEGER, last_seq INTEGER, PRIMARY KEY (run, session))"
    " WITHOUT ROWID",
    "CREATE TABLE main.notes (kind TEXT, time REAL, seq INTEGER, part INTEGER, agent TEXT, reason TEXT, rule TEXT, id TEXT,"
    " PRIMARY KEY (kind, time, seq, part)) WITHOUT ROWID",
    "CREATE TABLE main.burn (counter TEXT, slot INTEGER, unit TEXT, amount INTEGER, PRIMARY KEY (counter, slot)) WITHOUT ROWID",
    "CREATE TABLE main.spenders (counter TEXT, agent TEXT, amount INTEGER, PRIMARY KEY (counter, agent)) WITHOUT ROWID",
)

_NEW = "FROM ledger.records WHERE seq > :after AND seq <= :upto"
_READ = f"""WITH new AS MATERIALIZED (SELECT
  CAST(time AS INTEGER) / {HOUR_S} * {HOUR_S} AS hour, agent, team,
  CASE route WHEN '' THEN '' ELSE substr(model_asked, 1, {MAX_NAME}) END AS asked,
  CASE WHEN route = '' AND outcome = 'denied' THEN '' ELSE substr(model, 1, {MAX_NAME}) END AS model, provider, route,
  outcome, outcome = 'denied' AS refused,
  input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens AS input, cache_read_tokens AS cached,
  output_tokens AS output, cost, saved, would_save, loop <> '' AS looped, wasted_new AS wasted,
  carbon_ug_low AS carbon_low, carbon_ug AS carbon, energy_uwh_low AS energy_low, energy_uwh AS energy,
  operation = 'chat' AND outcome <> 'denied' AND NOT instr(decisions, '["sample",') AS chat,
  instr(decisions, '["routing","local: ') > 0 AS begun_local, instr(findings, 'routing/would-go-local') > 0 AS would,
  CASE WHEN marks ->> 'sent' IS NOT NULL THEN coalesce(marks ->> 'closed', 0) END AS ns,
  CASE WHEN stream THEN marks ->> 'first_byte' - (marks ->> 'sent') END AS ttft {_NEW})"""
_EACH = (
    "1, refused, input, cached, output, cost, saved, looped, wasted, carbon_low, carbon, energy_low, energy, chat, chat * cost,"
    " chat * begun_local, chat * begun_local * (route <> 'local' OR outcome NOT IN ('ok', 'client_gone')), chat * would, would_save,"
    " ns IS NOT NULL, coalesce(ns, 0), ttft IS NOT NULL, coalesce(ttft, 0), "
)
_EACH += ", ".join(
    f"coalesce(ns >= {1_000_000 * low} AND ns < {1_000_000 * high}, 0)" for low, high in zip((0, *EDGES_MS), EDGES_MS, strict=False)
)
_EACH += f", coalesce(ns >= {1_000_000 * EDGES_MS[-1]}, 0)"


def _adding(names: tuple[str, ...]) -> str:
    return "ON CONFLICT DO UPDATE SET " + ", ".join(f"{name} = {name} + excluded.{name}" for name in names)


_SHARED = " AND ".join(f"NOT instr(counter, '{kind}=')" for kind in ("agent", "session", "run", "key"))
_SHARED += " AND counter NOT LIKE 'agent:%' AND counter NOT LIKE '%|____-__-__T__:__'"

# Names of columns and parts of ours alone: nothing of what a client wrote is a part of a statement.
STEPS = (
    f"CREATE TEMP TABLE batch ({', '.join((*BY, *SUMS))})",
    f"INSERT INTO temp.batch {_READ} SELECT {', '.join(BY)}, {_EACH} FROM new",
    f"INSERT INTO main.hours SELECT * FROM temp.batch WHERE true {_adding(SUMS)}",
    f"INSERT INTO main.totals SELECT {', '.join(_BY_ALL)}, {', '.join(f'sum({name})' for name in SUMS)} FROM temp.batch"
    f" GROUP BY {', '.join(str(i + 1) for i in range(len(_BY_ALL)))} {_adding(SUMS)}",
    f"INSERT INTO main.agents SELECT {', '.join((*BY_AGENT, *BRIEF, *ROUTED))} FROM temp.batch WHERE true {_adding((*BRIEF, *ROUTED))}",
    f"INSERT INTO main.days SELECT hour / {DAY_S} * {DAY_S}, agent, team, {', '.join(BRIEF)} FROM temp.batch WHERE true {_adding(BRIEF)}",
    "DROP TABLE temp.batch",
    f"INSERT INTO main.denied SELECT CAST(time AS INTEGER) / {HOUR_S} * {HOUR_S}, reason, rule, 1 {_NEW} AND outcome = 'denied'"
    f" {_adding(('calls',))}",
    f"INSERT INTO main.versions SELECT agent, policy_digest, file_digest, version, min(time), max(time), count(*) {_NEW}"
    " AND policy_digest <> '' GROUP BY 1, 2, 3, 4 ON CONFLICT DO UPDATE SET first = min(first, excluded.first),"
    " last = max(last, excluded.last), calls = calls + excluded.calls",
    f"INSERT INTO main.runs SELECT run, session, time, seq, seq {_NEW} AND run <> session AND run <> ''"
    " ON CONFLICT DO UPDATE SET last = max(last, excluded.last), last_seq = max(last_seq, excluded.last_seq)",
    f"INSERT INTO main.notes SELECT 'refused', time, seq, 0, agent, reason, rule, id {_NEW} AND reason <> ''",
    f"INSERT INTO main.notes SELECT 'loop', time, seq, 0, agent, session, loop, id {_NEW} AND loop <> ''",
    "INSERT INTO main.notes SELECT 'shadow', time, seq, key + 1, agent, substr(value ->> 0, 8), value ->> 1, records.id"
    " FROM ledger.records, json_each(findings) WHERE seq > :after AND seq <= :upto AND instr(findings, '[\"shadow/')"
    " AND substr(value ->> 0, 1, 7) = 'shadow/'",
    "CREATE TEMP TABLE charged (counter, slot, unit, agent, amount)",
    f"INSERT INTO temp.charged SELECT value ->> 0 AS counter, CAST(time AS INTEGER) / {SLOT_S} * {SLOT_S}, value ->> 1, agent, value ->> 2"
    f" FROM ledger.records, json_each(charges) WHERE seq > :after AND seq <= :upto AND charges <> '[]' AND {_SHARED}",
    f"INSERT INTO main.burn SELECT counter, slot, unit, sum(amount) FROM temp.charged GROUP BY 1, 2 {_adding(('amount',))}",
    f"INSERT INTO main.spenders SELECT counter, agent, sum(amount) FROM temp.charged GROUP BY 1, 2 {_adding(('amount',))}",
    "DROP TABLE temp.charged",
)
