// Every agent: what it does now, what it cost today, how full its budget is, who is stuck, what was refused last.
import { html, useState } from "../ui.js";
import { useApi, num } from "../api.js";
import { useLive } from "../live.js";
import { href, refine } from "../route.js";
import { count, short, usd, rate, plural, span, words } from "../format.js";
import { Table, Pager, Search, Segments } from "../parts/table.js";
import { Mark, Name, Ago } from "../parts/marks.js";
import { Barred } from "../parts/bar.js";
import { Spark } from "../parts/plot.js";
import { budgetName } from "../parts/lists.js";
import { Head, Figure, Failed, Empty } from "../parts/states.js";

const SIZE = 50;
export const STATES = {
  active: ["good", "full", "active"],
  idle: ["calm", "ring", "idle"],
  stuck: ["warn", "turn", "stuck"],
  killed: ["bad", "square", "stopped"],
};

export function State({ row }) {
  const [kind, shape, word] = STATES[row.state] ?? ["calm", "ring", words(row.state)];
  const why = row.killed_by ? `stopped by ${row.killed_by}` : row.loop ? `${row.loop.rule}, ${row.loop.count} times` : undefined;
  return html`<${Mark} kind=${kind} shape=${shape} title=${why}>${word}<//>`;
}

const Zero = ({ n, show = count }) => (n ? show(n) : html`<span class="zero">${n === 0 ? "0" : "–"}</span>`);

function Budget({ budget: b }) {
  if (!b) return html`<span class="zero">none of its own</span>`;
  const note = b.exhausted_in === null || b.exhausted_in === undefined ? "" : `out in ${span(b.exhausted_in, 1)}`;
  return html`<${Barred} name=${budgetName(b)[0]} note=${note} spent=${num(b.spent)} held=${num(b.held)} limit=${num(b.limit)} unit=${b.unit} />`;
}

function Refusal({ last }) {
  if (!last) return html`<span class="zero">none today</span>`;
  return html`<div class="two"><a href=${href(["decisions", last.id])}>${words(last.reason)}</a><small><${Ago} t=${last.time} /></small></div>`;
}

const COLUMNS = [
  { key: "agent", title: "Agent", sort: "up", width: "auto", cell: (r) => html`<div class="two">
    <a class="name" href=${href(["fleet", r.agent])}><${Name} most=${60}>${r.agent || "(nobody)"}<//></a>
    <small>${r.known === false ? "no longer in the files" : r.team ? html`<${Name} most=${40}>${r.team}<//>` : "no team"}</small></div>` },
  { key: "state", title: "State", sort: "up", width: "6rem", cell: (r) => html`<${State} row=${r} />` },
  { key: "calls_per_min", title: "Calls/min", cls: "num p2", sort: "down", width: "8.5rem", cell: (r) => html`<span class="paced"><${Spark} values=${r.minutes} label="calls a minute over the last 15 minutes" /><span><${Zero} n=${r.calls_per_min} show=${rate} /></span></span>` },
  { key: "tokens", title: "Tokens", cls: "num p3", sort: "down", width: "5.25rem", cell: (r) => html`<${Zero} n=${r.tokens} show=${short} />` },
  { key: "usd", title: "Today", cls: "num", sort: "down", width: "5.5rem", cell: (r) => usd(num(r.usd)) },
  { key: "budget", title: "Fullest budget", cls: "p2", sort: "down", width: "12.5rem", cell: (r) => html`<${Budget} budget=${r.budget} />` },
  { key: "loops", title: "Loops", cls: "num p4", sort: "down", width: "4.75rem", cell: (r) => html`<${Zero} n=${r.loops} />` },
  { key: "last_refusal", title: "Last refusal", cls: "p3", sort: "down", width: "11rem", cell: (r) => html`<${Refusal} last=${r.last_refusal} />` },
];

const FILTERS = [["", "All"], ["active", "Active"], ["stuck", "Stuck"], ["killed", "Stopped"], ["idle", "Idle"]];

export function Fleet({ query }) {
  const sort = sortOf(query.sort ?? "-usd");
  const offset = Math.max(0, Number(query.offset) || 0);
  const params = { q: query.q, state: query.state, team: query.team, sort: query.sort ?? "-usd", limit: SIZE, offset };
  const held = () => document.querySelector(".table tbody:hover, .table tbody :focus") !== null;
  const { data, error, busy, reload, patch } = useApi("fleet", params, { on: ["kill"], every: 10_000, hold: held });
  const [totals, setTotals] = useState(null);
  useLive("fleet", (event) => {
    setTotals(event.totals);
    const fresh = new Map(event.agents.map((row) => [row.agent, row]));
    patch((old) => ({ ...old, agents: old.agents.map((row) => (fresh.has(row.agent) ? { ...row, ...fresh.get(row.agent) } : row)) }));
  });
  const sums = totals ?? data?.totals;
  return html`
    <${Head} title="Fleet">${sums ? summary(sums) : ""}<//>
    ${error && !sums ? null : html`<${Figures} sums=${sums} />`}
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${data?.stale ? html`<div class="banner warn" role="status">Sums are behind: ${data.stale}</div>` : null}
    <${Filters} query=${query} teams=${data?.teams} />
    ${data && data.total === 0 ? html`<${Nothing} query=${query} />` : error && !data ? null : html`
      <${Table} label="Agents" columns=${COLUMNS} rows=${data?.agents} id=${(r) => r.agent} sort=${sort} busy=${busy}
        onSort=${(s) => refine({ sort: `${s.down ? "-" : ""}${s.key}`, offset: undefined })} />
      <${Pager} offset=${offset} size=${SIZE} total=${data?.total} shown=${data?.agents.length ?? 0} what="agents" onOffset=${(n) => refine({ offset: n || undefined })} />`}`;
}

export function sortOf(text) {
  return { key: text.replace(/^-/, ""), down: text.startsWith("-") };
}

function summary(sums) {
  if (!sums.agents) return "";
  const trouble = [sums.stuck && `${count(sums.stuck)} stuck`, sums.killed && `${count(sums.killed)} stopped`].filter(Boolean).join(", ");
  return `${plural(sums.active, "agent")} of ${count(sums.agents)} at work${trouble ? `, ${trouble}` : ", nobody is stuck"}.`;
}

function Figures({ sums }) {
  return html`<dl class="figures">
    <${Figure} name="Spent today" value=${sums && usd(num(sums.usd))} note=${sums && `${short(sums.tokens)} tokens`} />
    <${Figure} name="Calls a minute" value=${sums && rate(sums.calls_per_min)} note=${sums && `${count(sums.inflight ?? 0)} under way`} />
    <${Figure} name="Calls today" value=${sums && count(sums.calls)} note=${sums && `by ${plural(sums.agents, "agent")}`} />
    <${Figure} name="Refused today" value=${sums && count(sums.refused)} note=${sums && sums.calls > 0 ? `${((sums.refused / sums.calls) * 100).toFixed(1)} % of calls` : ""} />
    <${Figure} name="Loops today" value=${sums && count(sums.loops)} note=${sums && (sums.stuck ? `${plural(sums.stuck, "agent")} stuck now` : "nobody stuck now")} />
  </dl>`;
}

function Filters({ query, teams }) {
  return html`<div class="fields" role="search">
    <${Search} label="Search agents" value=${query.q ?? ""} onInput=${(q) => refine({ q, offset: undefined })} />
    <${Segments} label="State" options=${FILTERS} value=${query.state ?? ""} onPick=${(state) => refine({ state, offset: undefined })} />
    ${teams?.length > 1 || query.team ? html`<label class="pick">Team
      <select class="input" value=${query.team ?? ""} onChange=${(e) => refine({ team: e.currentTarget.value, offset: undefined })}>
        <option value="">all</option>${[...new Set([...(teams ?? []), query.team].filter(Boolean))].map((team) => html`<option value=${team}>${team.slice(0, 60)}</option>`)}
      </select></label>` : null}
  </div>`;
}

function Nothing({ query }) {
  if (query.q || query.state || query.team) {
    return html`<${Empty} title="No agent fits">Take away a filter, or search for a part of the name. <a href=${href(["fleet"])}>Show all</a><//>`;
  }
  return html`<${Empty} title="No agents yet">Describe one in <code>AGENTS.md</code>, make a key with <code>fleetgate keys create NAME</code>, and point its
    SDK at the proxy. It appears here within a second.<//>`;
}
