"""A report as one HTML page that stands alone: no script, no file beside it, nothing fetched; light, dark and on paper.

Decides only how things look. What clients and files named is escaped; the policy in its head lets a browser run and fetch nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.money import NANOS
from proxy.telemetry.grouping import Sum
from proxy.telemetry.report import Report, Team
from proxy.telemetry.report_plots import bars, rows, text
from proxy.telemetry.tables import between, count, moment

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6b7e;--line:#e1e6ed;--page:#f6f7f9;--card:#fff;--bar:#3f6fb5;
--before:#e08e2b;
--less:#3c9a6b;--bad:#b4432f;--good:#2d7d55}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa7b8;--line:#2c3542;--page:#12161c;--card:#1a2028;
--bar:#6f9de0;
--before:#e8a552;--less:#5fbf90;--bad:#e2826f;--good:#6cc599}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 20px 60px}h1{font-size:26px;margin:0}h2{font-size:17px;margin:0 0 10px}
.span{color:var(--soft);margin:4px 0 22px}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));
gap:12px;margin-bottom:16px}
.card,section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 18px}
section{margin-bottom:16px}
.card b{display:block;font-size:23px;font-weight:600;font-variant-numeric:tabular-nums}
.card span,.hint,.none{color:var(--soft);font-size:13px}
.up{color:var(--bad)}.down{color:var(--good)}svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}svg .name,svg .value{fill:var(--ink);
font-size:13px}
.grid,.zero{stroke:var(--line)}.bar{fill:var(--bar)}.less{fill:var(--less)}.before{fill:none;stroke:var(--before);
stroke-width:2}
.key i{display:inline-block;width:12px;height:12px;border-radius:2px;background:var(--bar);margin:0 5px 0 12px;
vertical-align:-1px}
.key i.b{background:var(--before);height:3px;vertical-align:3px}.wide{overflow-x:auto}table{width:100%;
border-collapse:collapse;font-size:14px}
th,td{text-align:left;padding:6px 10px 6px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td:first-child{min-width:7em}th{color:var(--soft);font-weight:500}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}tfoot td{font-weight:600;border:0}
footer{color:var(--soft);font-size:13px}
@media print{:root{--ink:#000;--soft:#444;--line:#ccc;--page:#fff;--card:#fff;--bar:#3f6fb5;--before:#c77410;
--less:#3c9a6b;--bad:#8c2f20;--good:#1f5f40}
main{padding:0;max-width:none}section,.card{break-inside:avoid}body{font-size:12px}}
@page{margin:14mm}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_NAME_CHARS = 60


def page(report: Report, made: float) -> str:
    """Return the page; `made` is when, UTC seconds."""
    r = report
    slots = [s.label for s in r.slots]
    each = "hour" if slots and " " in slots[0] else "day"
    key = '<p class="hint key"><i></i>this span<i class="b"></i>the span before</p>'
    spend = bars(slots, [s.now.cost for s in r.slots], [s.before.cost for s in r.slots], usd, f"Dollars by {each}")
    refused = bars(slots, [s.now.refused for s in r.slots], [s.before.refused for s in r.slots], count, f"Refusals by {each}")
    saved = bars(slots, [max(0, s.now.saved) for s in r.slots], [max(0, s.before.saved) for s in r.slots], usd, f"Dollars saved by {each}")
    movers = rows([m.agent for m in r.movers], [m.now - m.before for m in r.movers], _signed, "Change of dollars by agent")
    parts = [
        f"<h1>Fleet report</h1><p class='span'>{moment(r.since)} to {moment(r.until)} UTC, compared with as long before</p>",
        _cards(r),
        _section(f"Dollars by {each}", key + spend),
        _section("Chargeback by team", _teams(r.teams, r.now.cost)),
        _section("Top movers", f'<p class="hint">agents whose spending changed most against the span before</p>{movers}'),
        _section("Dearest agents", _plot(r.agents)),
        _section("Models", _plot(r.models)),
        _section("Providers", _plot(r.providers)),
        _section(f"Savings by {each}", key + saved) if r.now.saved > 0 or r.before.saved > 0 else "",
        _section("Energy and carbon, as estimated", _estimates(r)) if r.now.carbon_ug or r.before.carbon_ug else "",
        _section(f"Refusals by {each}", key + refused),
        _section("What was refused", _refusals(r.refusals)),
        _section("Loops", _loops(r.loops)),
        f"<footer>Made {moment(made)} UTC from the ledger. Dollars are what was charged; prompts and replies are not in it.</footer>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><meta name="referrer" content="no-referrer">'
        f"<title>Fleet report</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def usd(nanos: int) -> str:
    """Return nano-dollars as `$1,234.50`, and what is less than a cent to a hundredth of one."""
    sign, amount = ("-", -nanos) if nanos < 0 else ("", nanos)
    digits = 4 if 0 < amount < NANOS // 100 else 2
    return f"{sign}${amount / NANOS:,.{digits}f}"


def _signed(nanos: int) -> str:
    return usd(nanos) if nanos <= 0 else f"+{usd(nanos)}"


def _cards(r: Report) -> str:
    shown = (
        ("Spent", usd(r.now.cost), r.now.cost, r.before.cost, True),
        ("Saved by simple models", usd(r.now.saved), r.now.saved, r.before.saved, False),
        ("Exchanges", count(r.now.calls), r.now.calls, r.before.calls, None),
        ("Refused", count(r.now.refused), r.now.refused, r.before.refused, None),
        ("Wasted by loops", usd(r.now.wasted), r.now.wasted, r.before.wasted, True),
    )
    cards = [
        f"<div class='card'><span>{name}</span><b>{value}</b>{_change(now, old, worse)}</div>" for name, value, now, old, worse in shown
    ]
    return f"<div class='cards'>{''.join(cards)}</div>"


def _change(now: int, before: int, more_is_worse: bool | None) -> str:
    """Return by how much something changed; red where that is bad, green where it is good."""
    if not before or now == before:
        return "<span>nothing before</span>" if now and not before else "<span>as before</span>"
    share = (now - before) / abs(before)
    kind = "" if more_is_worse is None else "up" if (now > before) == more_is_worse else "down"
    words = f"{share:+.0%}" if abs(share) < 10 else f"{now / before:,.0f} times"
    return f"<span class='{kind}'>{words} against before</span>"


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{title}</h2>{inside}</section>"


def _plot(sums: Sequence[Sum]) -> str:
    return rows([s.keys[0] for s in sums], [s.cost for s in sums], usd, "Dollars")


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], words: int, foot: Sequence[str] = ()) -> str:
    """Return a table whose first `words` columns are words and the others numbers; cells are escaped here."""
    if not lines:
        return '<p class="none">nothing</p>'

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = [f"<{tag}>" if i < words else f"<{tag} class='n'>" for i in range(len(cells))]
        return f"<tr>{''.join(f'{kind}{text(cell, _NAME_CHARS)}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    body = "".join(row(line, "td") for line in lines)
    last = f"<tfoot>{row(foot, 'td')}</tfoot>" if foot else ""
    return f"<div class='wide'><table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody>{last}</table></div>"


def _teams(teams: Sequence[Team], cost: int) -> str:
    head = ("Team", "Agents", "Exchanges", "Tokens in", "Tokens out", "Dollars", "Share", "Before", "Saved")
    lines = [
        (
            t.name or "-",
            count(t.agents),
            count(t.now.calls),
            count(t.now.input_tokens),
            count(t.now.output_tokens),
            usd(t.now.cost),
            f"{t.now.cost / cost:.1%}" if cost else "-",
            usd(t.before),
            usd(t.now.saved),
        )
        for t in teams
    ]
    numbers = [
        sum(values) for values in zip(*((t.agents, t.now.calls, t.now.input_tokens, t.now.output_tokens) for t in teams), strict=True)
    ]
    money = (usd(sum(t.now.cost for t in teams)), "", usd(sum(t.before for t in teams)), usd(sum(t.now.saved for t in teams)))
    return _table(head, lines, 1, ("all", *(count(n) for n in numbers), *money) if teams else ())


def _estimates(r: Report) -> str:
    """Return what answers took from the world: ranges, because nobody measures it."""
    now, before = (
        f"{between(s.carbon_ug_low, s.carbon_ug)} g of CO2 equivalents and {between(s.energy_uwh_low, s.energy_uwh)} Wh"
        for s in (r.now, r.before)
    )
    lines = [
        (t.name or "-", between(t.now.carbon_ug_low, t.now.carbon_ug), between(t.now.energy_uwh_low, t.now.energy_uwh))
        for t in sorted(r.teams, key=lambda t: -t.now.carbon_ug)
        if t.now.carbon_ug
    ]
    said = f"<p>{now}; in the span before {before}. These are estimates between two bounds, of calls to models that somebody knows.</p>"
    return said + _table(("Team", "g CO2e", "Wh"), lines, 1)


def _refusals(sums: Sequence[Sum]) -> str:
    return _table(("Reason", "Rule", "Times"), [(s.keys[0], s.keys[1] or "-", count(s.calls)) for s in sums], 2)


def _loops(sums: Sequence[Sum]) -> str:
    return _table(("Agent", "Signals", "Wasted"), [(s.keys[0], count(s.loops), usd(s.wasted)) for s in sums], 1)
