// One agent: what it costs and how fast it is, what holds for it and where that is written, its versions, sessions and refusals.
import { html, useState } from "../ui.js";
import { useApi, num } from "../api.js";
import { useNow } from "../live.js";
import { href } from "../route.js";
import { count, grams, short, usd, plain, millis, exactly, plural, shortId } from "../format.js";
import { Table } from "../parts/table.js";
import { Plot, Legend } from "../parts/plot.js";
import { Policy } from "../parts/policy.js";
import { Head, Figure, Failed, Empty, Section, Bone } from "../parts/states.js";
import { Name, Ago, Chip } from "../parts/marks.js";
import { StopDialog, ResumeDialog } from "../parts/stop.js";
import { changing } from "../parts/signin.js";
import { sessionColumns, decisionColumns, budgetColumns } from "../parts/lists.js";
import { State } from "./fleet.js";

export function Agent({ path }) {
  const name = path[1];
  const { data, error, reload } = useApi(`agents/${encodeURIComponent(name)}`, {}, { on: ["kill", "config"], every: 10_000 });
  const row = data?.row;
  return html`
    <${Head} title=${html`<${Name} most=${120}>${name}<//>`} crumb=${html`<a href=${href(["fleet"])}>Fleet</a>`} aside=${row ? html`<${Acts} row=${row} />` : null}>
      ${row ? html`<${State} row=${row} /> ${row.description ? html` · ${plain(row.description, 240)}` : null}` : ""}
    <//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${error && !data ? null : html`
      <${Figures} row=${row} policy=${data?.policy} emitted=${data?.emitted} />
      <${Plots} agent=${name} />
      ${data ? html`<${Rest} data=${data} name=${name} />` : html`<p aria-busy="true"><${Bone} width="40%" /></p>`}`}`;
}

function Acts({ row }) {
  const [open, setOpen] = useState("");
  const own = row.killed_by === `agent:${row.agent}`;
  return html`<div>
    ${own
      ? html`<button class="button" type="button" onClick=${() => changing(() => setOpen("resume"))}>Resume…</button>`
      : html`<button class="button" type="button" onClick=${() => changing(() => setOpen("stop"))}>Stop this agent…</button>`}
    ${open === "stop" ? html`<${StopDialog} target=${`agent:${row.agent}`} onClose=${() => setOpen("")} />` : null}
    ${open === "resume" ? html`<${ResumeDialog} target=${row.killed_by} onClose=${() => setOpen("")} />` : null}
  </div>`;
}

// Estimates between two bounds, nothing where nobody makes any.
const emits = (found) => (found ? html`<br />${grams(found.carbon_g[0])} to ${grams(found.carbon_g[1])} g CO₂e, estimated` : "");

function Figures({ row, policy, emitted }) {
  return html`<dl class="figures">
    <${Figure} name="Spent today" value=${row && usd(num(row.usd))} note=${row && html`${short(row.tokens)} tokens${emits(emitted)}`} />
    <${Figure} name="Calls today" value=${row && count(row.calls)} note=${row && `${row.calls_per_min} a minute now`} />
    <${Figure} name="Refused today" value=${row && count(row.refused)} note=${row && (row.last_refusal ? html`last <${Ago} t=${row.last_refusal.time} />` : "none")} />
    <${Figure} name="Loops today" value=${row && count(row.loops)} note=${row?.loop ? `${plain(row.loop.rule, 30)}, ${row.loop.count} times` : ""} />
    <${Figure} name="Team" value=${row && html`<${Name} most=${24}>${row.team || "none"}<//>`} note=${policy ? `mode ${policy.mode}` : ""} />
  </dl>`;
}

function Plots({ agent }) {
  const { data, error, reload } = useApi("series", { agent, step: "hour" }, { every: 30_000 });
  const points = data?.points ?? [];
  const spent = points.map((p) => [p.t, num(p.usd)]);
  const slow = points.map((p) => [p.t, p.p95_ms]);
  const usual = points.map((p) => [p.t, p.p50_ms]);
  const none = data ? "No calls in the last 24 hours." : "";
  return html`<div class="pair">
    <section aria-labelledby="spend"><h2 id="spend">Spend by hour</h2>
      <${Plot} label="Dollars by hour over the last 24 hours" series=${[{ name: "spent", points: anything(spent), shape: "column" }]} format=${usd} empty=${none} />
    </section>
    <section aria-labelledby="latency"><header><h2 id="latency">Latency</h2><${Legend} entries=${[["half within", ""], ["95 % within", "other"]]} /></header>
      <${Plot} label="Latency by hour over the last 24 hours" series=${[{ name: "half within", points: usual }, { name: "95 % within", points: slow, tone: "other" }]} format=${millis} empty=${none} />
    </section>
    <${Failed} error=${error} retry=${reload} />
  </div>`;
}

const anything = (points) => (points.some(([, v]) => v) ? points : []);

function Rest({ data, name }) {
  const now = useNow();
  return html`
    ${data.budgets?.length ? html`<${Section} id="budgets" title="Budgets"><${Table} label="Budgets of this agent" columns=${budgetColumns(now).map(unsorted)} rows=${data.budgets} id=${(b) => b.counter} /><//>` : null}
    <${Sessions} name=${name} />
    <${Refusals} name=${name} />
    <${Section} id="policy" title="Effective policy" note="The operator's baseline and the agent's files together; a file can only be stricter.">
      ${data.policy ? html`<${Policy} policy=${data.policy} rules=${data.rules} />` : html`<${Empty} title="No file describes this agent">The ledger knows it from before. Its keys no longer work.<//>`}
    <//>
    ${data.models?.length ? html`<${Section} id="models" title="Models today"><${Models} models=${data.models} /><//>` : null}
    <${Section} id="versions" title="Versions" note="Which policy its calls were decided by.">
      ${data.versions?.length ? html`<${Versions} versions=${data.versions} />` : html`<${Empty} title="No calls yet">Each policy that decided a call is listed here.<//>`}
    <//>`;
}

const unsorted = (column) => ({ ...column, sort: undefined });

function Models({ models }) {
  const columns = [
    { key: "model", title: "Model", cell: (m) => html`<${Name}>${m.model}<//>` },
    { key: "calls", title: "Calls", cls: "num", width: "7rem", cell: (m) => count(m.calls) },
    { key: "tokens", title: "Tokens", cls: "num p2", width: "8rem", cell: (m) => short(m.tokens) },
    { key: "usd", title: "Cost", cls: "num", width: "8rem", cell: (m) => usd(num(m.usd)) },
  ];
  return html`<${Table} label="Models today" columns=${columns} rows=${models} id=${(m) => m.model} />`;
}

function Versions({ versions }) {
  const columns = [
    { key: "version", title: "Version", width: "8rem", cell: (v) => html`${plain(v.version || "none", 20)} ${v.now ? html`<${Chip} kind="good">now<//>` : null}` },
    { key: "policy", title: "Policy", cell: (v) => html`<code title=${v.policy_digest}>${shortId(v.policy_digest)}</code>` },
    { key: "file", title: "File", cls: "p2", cell: (v) => html`<code title=${v.file_digest}>${shortId(v.file_digest)}</code>` },
    { key: "first", title: "Since", cls: "num", width: "8rem", cell: (v) => html`<span title=${exactly(v.first)}><${Ago} t=${v.first} /></span>` },
  ];
  return html`<${Table} label="Versions" columns=${columns} rows=${versions} id=${(v) => `${v.policy_digest}/${v.first}`} />`;
}

function Sessions({ name }) {
  const { data, error, reload } = useApi("sessions", { agent: name, limit: 8 }, { every: 10_000 });
  const more = data && data.total > data.sessions.length;
  return html`<${Section} id="sessions" title="Sessions" note=${data ? `${plural(data.total, "session")} in the last day` : ""}
    aside=${more ? html`<a href=${href(["sessions"], { agent: name })}>All of them</a>` : null}>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${data && !data.sessions.length ? html`<${Empty} title="No sessions in the last day">They appear with the agent's next call.<//>`
      : html`<${Table} label="Sessions" columns=${sessionColumns(true).map(unsorted)} rows=${data?.sessions} bones=${4} id=${(s) => s.session} />`}
  <//>`;
}

function Refusals({ name }) {
  const { data, error, reload } = useApi("decisions", { agent: name, limit: 8 }, { every: 10_000 });
  return html`<${Section} id="refusals" title="Refusals" aside=${data?.decisions.length ? html`<a href=${href(["decisions"], { agent: name })}>All of them</a>` : null}>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${data && !data.decisions.length ? html`<${Empty} title="Nothing was refused in the last day">Every call was within what the agent may do.<//>`
      : html`<${Table} label="Refusals" columns=${decisionColumns(true)} rows=${data?.decisions} bones=${3} id=${(d) => d.id} />`}
  <//>`;
}
