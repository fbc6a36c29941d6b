// What simple models serve, what that saves, and how often it falls back.
import { html } from "../ui.js";
import { useApi, num } from "../api.js";
import { href, refine } from "../route.js";
import { count, percent, usd, words } from "../format.js";
import { Table, Segments } from "../parts/table.js";
import { Plot } from "../parts/plot.js";
import { Head, Figure, Failed, Empty, Section } from "../parts/states.js";
import { Name } from "../parts/marks.js";

const SPANS = [["1d", "Day"], ["1w", "Week"], ["30d", "Month"]];

export function Routing({ query }) {
  const since = query.since ?? "1d";
  const { data, error, reload } = useApi("routing", { since }, { every: 15_000 });
  const t = data?.total;
  const dry = t && !t.routed && t.would_route > 0;
  return html`
    <${Head} title="Routing" aside=${html`<${Segments} label="Since" options=${SPANS} value=${since} onPick=${(s) => refine({ since: s })} />`}>
      ${t ? (t.routed ? `${percent(t.share, 1)} of calls went to the simple model.` : dry ? "Routing only reports: nothing was moved." : "No call was moved to the simple model.") : ""}
    <//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${error && !data ? null : html`
      <dl class="figures">
        <${Figure} name="Served locally" value=${t && percent(t.share, 1)} note=${t && `${count(t.routed)} of ${count(t.calls)} calls`} />
        <${Figure} name="Saved" value=${t && usd(num(t.saved_usd))} note=${t && `${percent(t.saved_share, 1)} of what it would have cost`} />
        <${Figure} name="Fell back" value=${t && percent(t.fallback_rate, 1)} note=${t && `${count(t.fell_back)} calls went to the asked model after all`} />
        <${Figure} name="Spent" value=${t && usd(num(t.cost_usd))} note="on all of these calls" />
        ${t && t.would_route ? html`<${Figure} name="Would have saved" value=${usd(num(t.would_save_usd))} note=${`${count(t.would_route)} calls, were it enforced`} />` : null}
      </dl>
      ${t && !t.calls ? html`<${Empty} title="No chats in that time">Routing looks at chats alone. Name a model in <code>routing.simple_to</code> and let agents use it with
        ${" "}<code>routing: {local_ok: true}</code> in their files.<//>` : html`
      <div class="pair">
        <section aria-labelledby="saved"><h2 id="saved">Saved by hour</h2><${Over} data=${data} name="saved" value=${(p) => num(p.saved_usd)} format=${usd} /></section>
        <section aria-labelledby="moved"><h2 id="moved">Calls served locally</h2><${Over} data=${data} name="served locally" value=${(p) => p.routed} format=${count} /></section>
      </div>
      <${Sums} id="agents" title="By agent" rows=${data?.agents} link />
      <${Sums} id="models" title="By the model that was asked for" rows=${data?.models} />
      <${Routes} routes=${data?.routes} />`}`}`;
}

function Over({ data, name, value, format }) {
  const points = data ? data.points.map((p) => [p.t, value(p)]) : [];
  return html`<${Plot} label=${`${name} over time`} series=${[{ name, points: points.some(([, v]) => v) ? points : [], shape: "column" }]} format=${format} empty=${data ? "Nothing in that time." : ""} />`;
}

// What is nothing is written so that what is something stands out.
const quiet = (value, text) => (value ? text : html`<span class="zero">${text}</span>`);

function Sums({ id, title, rows, link }) {
  if (rows && !rows.length) return null;
  const columns = [
    { key: "key", title: link ? "Agent" : "Model", width: "30%", cell: (r) => (link ? html`<a class="name" href=${href(["fleet", r.key])}><${Name}>${r.key}<//></a>` : html`<${Name}>${r.key}<//>`) },
    { key: "calls", title: "Calls", cls: "num p2", cell: (r) => count(r.calls) },
    { key: "share", title: "Local", cls: "num", cell: (r) => quiet(r.share, percent(r.share, 1)) },
    { key: "back", title: "Fell back", cls: "num p3", cell: (r) => quiet(r.fallback_rate, percent(r.fallback_rate, 1)) },
    { key: "cost", title: "Spent", cls: "num p2", cell: (r) => usd(num(r.cost_usd)) },
    { key: "saved", title: "Saved", cls: "num", cell: (r) => quiet(num(r.saved_usd), usd(num(r.saved_usd))) },
  ];
  return html`<${Section} id=${id} title=${title}><${Table} label=${title} columns=${columns} rows=${rows} bones=${4} id=${(r) => r.key} /><//>`;
}

function Routes({ routes }) {
  if (!routes?.length) return null;
  const sum = routes.reduce((all, r) => all + r.calls, 0) || 1;
  const columns = [
    { key: "route", title: "Route", width: "30%", cell: (r) => words(r.route) },
    { key: "calls", title: "Calls", cls: "num", width: "8rem", cell: (r) => count(r.calls) },
    { key: "share", title: "Share", cell: (r) => html`<span class="share"><svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect width=${Math.max(0.4, (r.calls / sum) * 100)} height="6" rx="1" /></svg><span>${percent(r.calls / sum, 1)}</span></span>` },
  ];
  return html`<${Section} id="routes" title="How calls were routed"><${Table} label="Routes" columns=${columns} rows=${routes} id=${(r) => r.route} /><//>`;
}
