// What holds for an agent, value by value, each with the file and line that it comes from.
import { html, useState } from "../ui.js";
import { count, usd, plain, words } from "../format.js";
import { Where, Chip } from "./marks.js";

const list = (names) => names.map((name) => plain(name, 60)).join(", ");

function names(layer) {
  const parts = [];
  if (layer.allow) parts.push(layer.allow.length === 1 && layer.allow[0] === "*" ? "any" : layer.allow.length ? `only ${list(layer.allow)}` : "none");
  if (layer.deny?.length) parts.push(`not ${list(layer.deny)}`);
  if (layer.require_approval?.length) parts.push(`asks a person for ${list(layer.require_approval)}`);
  return parts.join(", ") || "any";
}

function limit(b) {
  const of = b.unit === "usd" ? usd(Number(b.limit)) : `${count(Number(b.limit))} ${words(b.unit)}`;
  return `${of} per ${words(b.window)}, then ${words(b.on_exceed)}`;
}

function argument(rule) {
  const tools = Array.isArray(rule.tool) ? rule.tool : [rule.tool ?? "*"];
  return `${words(rule.action ?? "deny")} ${list(tools)} where ${plain(rule.field ?? "arguments", 40)} match ${plain(rule.regex ?? rule.pattern ?? "", 80)}`;
}

// Return rows of {name, value, source, shadow} from the policy as the API gives it. Pure.
export function rowsOf(p) {
  const rows = [];
  const add = (name, value, from = {}) => value !== "" && value !== null && value !== undefined && rows.push({ name, value, source: from.source, shadow: from.shadow });
  (p.models ?? []).forEach((layer) => add("Models", names(layer), layer));
  add("Default model", p.default_model && plain(p.default_model));
  add("Fallback", p.fallback?.length ? list(p.fallback) : "");
  (p.tools ?? []).forEach((layer) => add("Tools", names(layer), layer));
  (p.tool_args ?? []).forEach((rule) => add("Tool arguments", argument(rule), rule));
  (p.max_input_tokens ?? []).forEach((l) => add("Input of a request", `up to ${count(l.value)} tokens`, l));
  (p.max_output_tokens ?? []).forEach((l) => add("Output of a request", `up to ${count(l.value)} tokens`, l));
  (p.max_turns ?? []).forEach((l) => add("Turns of a session", `up to ${count(l.value)}`, l));
  (p.budgets ?? []).forEach((b) => add("Budget", limit(b), b));
  if (p.loops) add("Loops", `warn at ${p.loops.warn}, block at ${p.loops.block}: ${list(p.loops.steps ?? [])}`, p.loops);
  if (p.local_ok !== undefined) add("Local models", p.local_ok ? "yes, for simple requests" : "no");
  for (const [guard, held] of Object.entries(p.data ?? {})) add(`Data: ${words(guard)}`, plain(typeof held === "object" && held ? held.value ?? held.action ?? JSON.stringify(held) : held), held ?? {});
  return rows;
}

export function Policy({ policy, rules }) {
  const rows = rowsOf(policy);
  return html`
    <div class="scroll"><table class="table loose"><caption class="hush">Effective policy</caption>
      <colgroup><col class="w-name" /><col /><col class="w-where p2" /></colgroup>
      <thead><tr><th scope="col">Setting</th><th scope="col">What holds</th><th scope="col" class="p2">Written in</th></tr></thead>
      <tbody>${rows.map((row, i) => html`<tr>
        <th scope="row">${i && rows[i - 1].name === row.name ? html`<span class="hush">${row.name}</span>` : row.name}</th>
        <td class="wrap">${row.value} ${row.shadow ? html`<${Chip} kind="accent">shadow<//>` : null}<span class="only-small"><${Where} at=${row.source} /></span></td>
        <td class="wrap p2"><${Where} at=${row.source} /></td>
      </tr>`)}</tbody>
    </table></div>
    ${rules?.length ? html`<${Rules} rules=${rules} />` : null}`;
}

function Rules({ rules }) {
  const [all, setAll] = useState(false);
  const own = rules.filter((r) => !r.shipped);
  const shown = all ? rules : own;
  const about = shown.some((r) => r.title);
  return html`<div class="rules">
    <h3>Rules on texts and tool calls</h3>
    ${shown.length ? html`<div class="scroll"><table class="table loose"><caption class="hush">Rules</caption>
      <colgroup><col class="w-name" />${about ? html`<col />` : null}<col class=${about ? "w-act" : ""} /><col class="w-where p2" /></colgroup>
      <thead><tr><th scope="col">Rule</th>${about ? html`<th scope="col">About</th>` : null}<th scope="col">Does</th><th scope="col" class="p2">Written in</th></tr></thead>
      <tbody>${shown.map((r) => html`<tr><th scope="row">${plain(r.id, 60)}</th>${about ? html`<td class="wrap">${plain(r.title ?? "", 200)}</td>` : null}
        <td>${words(r.action)}${r.mode === "shadow" ? html` <${Chip} kind="accent">shadow<//>` : null}</td><td class="wrap p2"><${Where} at=${r.source} /></td></tr>`)}</tbody>
    </table></div>` : html`<p class="dim">None of its own; ${count(rules.length)} that ship hold.</p>`}
    ${own.length < rules.length ? html`<button class="button small" type="button" aria-expanded=${all ? "true" : "false"} onClick=${() => setAll(!all)}>
      ${all ? "Hide those that ship" : `Show the ${count(rules.length - own.length)} that ship`}</button>` : null}
  </div>`;
}
