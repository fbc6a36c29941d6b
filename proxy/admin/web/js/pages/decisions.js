// What was refused or cut, and why: counted by reason and rule, then one by one.
import { html, useState, useEffect } from "../ui.js";
import { useApi } from "../api.js";
import { href, refine } from "../route.js";
import { count, plain, plural, words } from "../format.js";
import { Table, More, Search, Segments } from "../parts/table.js";
import { Head, Failed, Empty, Section } from "../parts/states.js";
import { Chip, Name, Ago, Where } from "../parts/marks.js";
import { decisionColumns } from "../parts/lists.js";

const SIZE = 50;
const SPANS = [["1h", "Hour"], ["1d", "Day"], ["1w", "Week"]];

export function Decisions({ query }) {
  const since = query.since ?? "1d";
  const params = { agent: query.agent, reason: query.reason, rule: query.rule, since, limit: SIZE };
  const counts = useApi("decisions", params, { on: ["exchanges"], every: 30_000 });
  const [cursor, setCursor] = useState(null);
  useEffect(() => setCursor(null), [JSON.stringify(params)]);
  const older = useApi(cursor ? "decisions" : null, { ...params, cursor });
  const shown = cursor ? older : counts;
  const { data } = counts;
  const total = data?.reasons?.reduce((sum, r) => sum + r.count, 0);
  const filtered = query.agent || query.reason || query.rule;
  return html`
    <${Head} title="Decisions">${data ? `${plural(total ?? 0, "call")} refused or cut${filtered ? " of those that you look at" : ""}.` : ""}<//>
    <${Failed} error=${shown.error ?? counts.error} retry=${shown.reload} kept=${shown.data} />
    <div class="fields" role="search">
      <${Search} label="Search by rule" placeholder="Part of a rule, as AGENTS.md:12" value=${query.rule ?? ""} onInput=${(rule) => refine({ rule })} />
      <${Segments} label="Since" options=${SPANS} value=${since} onPick=${(s) => refine({ since: s })} />
      <${Active} query=${query} />
    </div>
    ${data && total === 0 && !counts.error
      ? html`<${Empty} title=${filtered ? "Nothing fits" : "Nothing was refused"}>${filtered ? "Take away a filter, or look at a longer time." : "Every call in that time was within what its agent may do."}<//>`
      : html`
        <${Reasons} reasons=${data?.reasons} chosen=${query.reason} />
        <${Section} id="list" title="One by one">
          <${Table} label="Decisions" columns=${decisionColumns(false)} rows=${shown.data?.decisions} id=${(d) => d.id} busy=${shown.busy && cursor} />
          <${More} first=${!cursor} more=${shown.data?.next} shown=${shown.data?.decisions.length} what="decisions" onFirst=${() => setCursor(null)} onMore=${() => setCursor(shown.data.next)} />
        <//>
        <${Rules} rules=${data?.rules} />`}`;
}

function Active({ query }) {
  const filters = [["agent", query.agent], ["reason", query.reason]].filter(([, v]) => v);
  return filters.map(([key, value]) => html`<button class="button small" type="button" aria-label=${`Take away the filter ${key} ${plain(value, 40)}`} onClick=${() => refine({ [key]: undefined })}>
    ${key}: ${key === "reason" ? words(value) : plain(value, 30)} ×</button>`);
}

function Reasons({ reasons, chosen }) {
  if (!reasons) return html`<div class="reasons" aria-busy="true"></div>`;
  const most = Math.max(1, ...reasons.map((r) => r.count));
  return html`<ul class="reasons" aria-label="Reasons">${reasons.slice(0, 12).map((r) => html`<li>
    <button type="button" aria-pressed=${chosen === r.reason ? "true" : "false"} onClick=${() => refine({ reason: chosen === r.reason ? undefined : r.reason })}>
      <span class="reason-name">${words(r.reason)}</span><span class="reason-n">${count(r.count)}</span>
      <svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width=${(r.count / most) * 100} height="4" rx="1" /></svg>
      <small>${plural(r.agents, "agent")}, last <${Ago} t=${r.last} /></small>
    </button></li>`)}</ul>`;
}

function Rules({ rules }) {
  if (!rules?.length) return null;
  const columns = [
    { key: "rule", title: "Rule", cell: (r) => html`<button class="link" type="button" onClick=${() => refine({ rule: r.rule })}><${Where} at=${r.rule || "(none)"} /></button>` },
    { key: "reason", title: "Reason", width: "14rem", cls: "p2", cell: (r) => html`<${Chip}>${words(r.reason)}<//>` },
    { key: "count", title: "Times", cls: "num", width: "6rem", cell: (r) => count(r.count) },
    { key: "agents", title: "Agents", cls: "num p2", width: "6rem", cell: (r) => count(r.agents) },
    { key: "last", title: "Last", cls: "num", width: "7rem", cell: (r) => html`<${Ago} t=${r.last} />` },
  ];
  return html`<${Section} id="rules" title="By rule" note="Where it is written. A rule that refuses much may be wrong, or an agent may.">
    <${Table} label="Rules" columns=${columns} rows=${rules.slice(0, 20)} id=${(r) => `${r.rule}/${r.reason}`} /><//>`;
}
