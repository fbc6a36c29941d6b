// A session's exchanges in the order in which they happened: one line each, and everything about it below when it is opened.
import { html, useState } from "../ui.js";
import { num } from "../api.js";
import { href } from "../route.js";
import { clockOf, exactly, grams, millis, plain, short, usd, words, percent } from "../format.js";
import { Chip, Name, Outcome, Sign, Where } from "./marks.js";
import { LoopChip } from "./lists.js";
import { Said } from "./said.js";

export function Timeline({ exchanges, content = false }) {
  const longest = Math.max(1, ...exchanges.map((e) => e.total_ms ?? 0));
  return html`<ol class="timeline">${exchanges.map((e) => html`<${Step} key=${e.id} exchange=${e} longest=${longest} content=${content} />`)}</ol>`;
}

function Step({ exchange: e, longest, content }) {
  const [open, setOpen] = useState(false);
  const id = `x-${e.id}`;
  return html`<li class=${`step ${e.outcome}`} data-row>
    <button type="button" class="step-line" aria-expanded=${open ? "true" : "false"} aria-controls=${id} onClick=${() => setOpen(!open)}>
      <time datetime=${new Date(e.time * 1000).toISOString()} title=${exactly(e.time)}>${clockOf(e.time)}</time>
      <span class="step-what"><${Outcome} outcome=${e.outcome} reason=${e.outcome === "ok" ? "" : e.reason} /><${Model} exchange=${e} /></span>
      <${Lane} exchange=${e} longest=${longest} />
      <span class="step-tokens"><${Tokens} exchange=${e} /></span>
      <span class="step-usd">${usd(num(e.usd))}</span>
    </button>
    <${Signals} exchange=${e} />
    <div id=${id} hidden=${!open}>${open ? html`<${Details} exchange=${e} content=${content} />` : null}</div>
  </li>`;
}

function Model({ exchange: e }) {
  const served = e.model || "";
  if (!served || served === e.model_asked) return html`<span class="step-model"><${Name} most=${40}>${e.model_asked}<//></span>`;
  return html`<span class="step-model"><${Name} most=${32}>${e.model_asked}<//><span aria-label="served by"> → </span><${Name} most=${32}>${served}<//></span>`;
}

function Tokens({ exchange: e }) {
  if (!e.input_tokens && !e.output_tokens) return html`<span class="zero">no tokens</span>`;
  const cached = e.cached_tokens ? html` <small>(${short(e.cached_tokens)} cached)</small>` : null;
  return html`${short(e.input_tokens)}${cached} → ${short(e.output_tokens)}`;
}

// Time: up to the first token, and the rest of the reply.
function Lane({ exchange: e, longest }) {
  const total = e.total_ms ?? 0;
  const first = e.ttft_ms === null ? total : Math.min(e.ttft_ms, total);
  const label = `${millis(total)}${e.ttft_ms === null ? "" : `, first token after ${millis(e.ttft_ms)}`}`;
  const part = (ms) => (ms / longest) * 100;
  return html`<span class="lane" title=${label}>
    <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      <rect class="lane-rest" width=${part(total)} height="8" /><rect class="lane-wait" width=${part(first)} height="8" />
    </svg><span>${millis(total)}<span class="hush"> ${label}</span></span>
  </span>`;
}

function Signals({ exchange: e }) {
  const tools = e.tools ?? [];
  if (!tools.length && !e.loop && !e.findings?.length && !e.fallbacks?.length) return null;
  return html`<div class="signals">
    ${tools.map((t) => html`<${Tool} tool=${t} />`)}
    <${LoopChip} loop=${e.loop} />
    ${(e.findings ?? []).map((f) => html`<${Chip} kind="warn" title=${plain(f.detail, 300)}>${plain(f.rule, 60)}<//>`)}
    ${(e.fallbacks ?? []).map((f) => html`<${Chip} title=${`${plain(f.model)}: ${words(f.cause)}`}>left ${plain(f.provider, 30)}<//>`)}
  </div>`;
}

const TOOLS = { passed: ["", "check"], withheld: ["bad", "cross"] };

function Tool({ tool: t }) {
  const [kind, shape] = TOOLS[t.status] ?? ["", "ring"];
  return html`<span class=${`chip ${kind}`} title=${words(t.status)}><span class="mark"><${Sign} shape=${shape} /><span>${plain(t.name, 40)}${t.status === "passed" ? html`<span class="hush"> passed</span>` : ` ${words(t.status)}`}</span></span></span>`;
}

export function Details({ exchange: e, content = false }) {
  return html`<div class="step-more">
    <dl class="facts">
      ${fact("Refused because", e.message && html`${plain(e.message, 600)} <${Where} at=${e.rule} />`)}
      ${fact("What helps", e.remedy && plain(e.remedy, 600))}
      ${fact("Asked for", html`<${Name}>${e.model_asked}<//> <small>${words(e.operation)} over ${plain(e.protocol, 40)}${e.stream ? ", streamed" : ""}</small>`)}
      ${fact("Served by", e.model && html`<${Name}>${e.model}<//> <small>${plain(e.provider, 40)}, ${words(e.route)}${e.route_why ? `: ${plain(e.route_why, 300)}` : ""}</small>`)}
      ${fact("Difficulty", e.difficulty === null || e.difficulty === undefined ? "" : e.difficulty.toFixed(2))}
      ${fact("Tokens", html`${short(e.input_tokens)} in, ${short(e.cached_tokens)} of them cached${e.input_tokens ? ` (${percent(e.cached_tokens / e.input_tokens)})` : ""}, ${short(e.output_tokens)} out${e.reasoning_tokens ? `, ${short(e.reasoning_tokens)} of them reasoning` : ""}${e.usage_exact ? "" : " (a bound, the provider gave no count)"}`)}
      ${fact("Cost", html`${usd(num(e.usd))}${num(e.saved_usd) ? html` <small>${usd(num(e.saved_usd))} saved by routing</small>` : null}`)}
      ${fact("Time", html`${millis(e.total_ms)} <small>${e.ttft_ms === null ? "" : `first token ${millis(e.ttft_ms)}, `}${e.upstream_ms === null ? "" : `provider ${millis(e.upstream_ms)}, `}ours ${millis(e.ours_ms)}</small>`)}
      ${fact("Energy", e.energy_wh ? html`${grams(e.energy_wh[0])} to ${grams(e.energy_wh[1])} Wh, ${grams(e.carbon_g[0])} to ${grams(e.carbon_g[1])} g CO₂e <small>estimates</small>` : "")}
      ${fact("Loop", e.loop && `${words(e.loop.level)} by ${plain(e.loop.rule)}, ${e.loop.count} times, ${usd(num(e.loop.usd))} since it began`)}
      ${fact("Tool calls", e.tools?.length ? html`<ul>${e.tools.map((t) => html`<li><${Name} most=${60}>${t.name}<//> ${words(t.status)}</li>`)}</ul>` : "")}
      ${fact("Findings", e.findings?.length ? html`<ul>${e.findings.map((f) => html`<li>${plain(f.rule, 80)} <small>${plain(f.detail, 300)}</small></li>`)}</ul>` : "")}
      ${fact("Tried before", e.fallbacks?.length ? html`<ul>${e.fallbacks.map((f) => html`<li>${plain(f.provider, 40)} ${plain(f.model, 60)} <small>${words(f.cause)} after ${millis(f.ms)}, ${usd(num(f.usd))}</small></li>`)}</ul>` : "")}
      ${fact("Trace", e.trace_id && html`<code>${plain(e.trace_id, 60)}</code>`)}
      ${fact("Id", html`<a href=${href(["decisions", e.id])}><code>${plain(e.id, 60)}</code></a>`)}
    </dl>
    ${content ? html`<${Said} id=${e.id} />` : null}
  </div>`;
}

const fact = (name, value) => (value ? html`<dt>${name}</dt><dd>${value}</dd>` : null);
