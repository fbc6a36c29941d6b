// Lists that several pages show: sessions, refusals, budgets.
import { html } from "../ui.js";
import { num } from "../api.js";
import { href, sessionHref, sessionName } from "../route.js";
import { amount, count, plain, short, span, usd, used, words, exactly } from "../format.js";
import { Ago, Name, Chip, Where, Mark } from "./marks.js";
import { Bar } from "./bar.js";

export function loopOf(text) {
  if (!text) return null;
  const [level, ...rest] = String(text).split(";");
  const parts = Object.fromEntries(rest.map((part) => part.split("=")));
  return { level, rule: parts.rule ?? "", count: parts.count ?? "" };
}

export function LoopChip({ loop }) {
  const said = typeof loop === "string" ? loopOf(loop) : loop;
  if (!said || said.level === "none") return null;
  return html`<${Chip} kind=${said.level === "warn" ? "warn" : "bad"} title=${`${plain(said.rule)}, ${said.count} times`}>loop: ${words(said.level)}<//>`;
}

export const sessionColumns = (agent) => [
  { key: "session", title: "Session", width: agent ? "32%" : "24%", cell: (s) => html`<a class="name" href=${sessionHref(s.session)}><${Name} most=${48}>${sessionName(s.session)}<//></a>` },
  ...(agent ? [] : [{ key: "agent", title: "Agent", cell: (s) => html`<a href=${href(["fleet", s.agent])}><${Name} most=${48}>${s.agent}<//></a>` }]),
  { key: "model", title: "Model", cls: "p4", cell: (s) => html`<${Name} most=${40}>${s.model}<//>` },
  { key: "calls", title: "Calls", cls: "num p2", sort: "down", width: "5rem", cell: (s) => count(s.calls) },
  { key: "tokens", title: "Tokens", cls: "num p3", sort: "down", width: "6rem", cell: (s) => short(s.tokens) },
  { key: "usd", title: "Cost", cls: "num", sort: "down", width: "5.5rem", cell: (s) => usd(num(s.usd)) },
  { key: "refused", title: "Trouble", cls: "p3", sort: "down", width: "10rem", cell: (s) => html`<span class="chips">${s.refused ? html`<${Chip} kind="bad">${count(s.refused)} refused<//>` : null}<${LoopChip} loop=${s.loop} /></span>` },
  { key: "last", title: "Last call", cls: "num", sort: "down", width: "6.5rem", cell: (s) => html`<${Ago} t=${s.last} />` },
];

export const decisionColumns = (agent) => [
  { key: "time", title: "When", width: "6.5rem", cls: "p2", cell: (d) => html`<${Ago} t=${d.time} />` },
  { key: "reason", title: "Reason", width: agent ? "28%" : "17%", cell: (d) => html`<div class="two"><a class="name" href=${href(["decisions", d.id])} title=${exactly(d.time)}>${words(d.reason)}</a><small class="only-small"><${Ago} t=${d.time} /></small></div>` },
  ...(agent ? [] : [{ key: "agent", title: "Agent", width: "15%", cell: (d) => (d.agent ? html`<a href=${href(["fleet", d.agent])}><${Name} most=${40}>${d.agent}<//></a>` : html`<span class="zero">nobody known</span>`) }]),
  { key: "message", title: "What was said", cls: "p3", cell: (d) => html`<span class="clamp" title=${plain(d.message, 400)}>${plain(d.message, 200)}</span>` },
  { key: "rule", title: "Rule", cls: "p4", width: "22%", cell: (d) => html`<span class="clamp"><${Where} at=${d.rule} /></span>` },
];

const ends = (b, now) => (b.resets_at ? `resets in ${span(b.resets_at - now)}` : words(b.window ?? ""));

const UNITS = { gco2e: "CO₂e" };

// An agent's own budgets are named agent:NAME/WINDOW/UNIT; those of the files say their scope.
export function budgetName(b) {
  const own = /^agent:(.+?)\/(.+)$/.exec(b.name);
  if (own) return [own[2].replaceAll("/", ", ").replaceAll("_", " "), `agent ${own[1]}${b.scope ? `, ${b.scope.replaceAll("=", " ")}` : ""}`];
  return [b.name, b.scope ? b.scope.replaceAll("=", " ") : "shared"];
}

export const budgetColumns = (now) => [
  { key: "name", title: "Budget", cls: "lead", sort: "up", width: "24%", cell: (b) => html`<div class="two"><a class="name" href=${href(["budgets", b.counter])}><${Name} most=${60}>${budgetName(b)[0]}<//></a>
    <small><${Name} most=${60}>${budgetName(b)[1]}<//>${b.enforced === false ? " · shadow" : ""}</small></div>` },
  { key: "used", title: "Used", sort: "down", cell: (b) => html`<span class="barred"><span><span class="p2">${amount(num(b.spent), b.unit)}${num(b.held) > 0 ? ` + ${amount(num(b.held), b.unit)} held` : ""}</span>
    <span>${used(b.used)}</span></span><${Bar} spent=${num(b.spent)} held=${num(b.held)} limit=${num(b.limit)} label=${`${used(b.used)} used`} /></span>` },
  { key: "limit", title: "Limit", cls: "num p3", width: "8rem", cell: (b) => html`${amount(num(b.limit), b.unit)}${b.unit === "usd" ? "" : html` <small>${UNITS[b.unit] ?? words(b.unit)}</small>`}` },
  { key: "remaining", title: "Left", cls: "num", sort: "up", width: "7rem", cell: (b) => amount(num(b.remaining), b.unit) },
  { key: "resets_at", title: "Window", cls: "p2", sort: "up", width: "12rem", cell: (b) => html`<div class="two">${words(b.window)}<small>${ends(b, now)}</small></div>` },
  { key: "exhausted_in", title: "Forecast", cls: "p3", sort: "up", width: "9rem", cell: (b) => html`<${Forecast} budget=${b} />` },
];

export function Forecast({ budget: b }) {
  if (num(b.remaining) <= 0) return html`<${Mark} kind="bad" shape="square">used up<//>`;
  if (b.exhausted_in === null || b.exhausted_in === undefined) return html`<${Mark} kind="good" shape="check">lasts<//>`;
  return html`<${Mark} kind="warn" shape="triangle">out in ${span(b.exhausted_in, 1)}<//>`;
}
