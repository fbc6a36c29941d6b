// The configuration in force: its digest and files, what changed, what is wrong with an edit, what dry runs would have refused.
import { html } from "../ui.js";
import { useApi } from "../api.js";
import { href } from "../route.js";
import { count, plain, plural, shortId, words } from "../format.js";
import { Table } from "../parts/table.js";
import { Head, Figure, Failed, Empty, Section, Bone } from "../parts/states.js";
import { Mark, Name, Ago, Where, Chip } from "../parts/marks.js";

export function Config() {
  const { data, error, reload } = useApi("config", {}, { on: ["config"], every: 10_000 });
  const shadow = useApi("shadow", { since: "1d" }, { every: 30_000 });
  const there = data && (shadow.data || shadow.error); // what comes later would push the rest down
  return html`
    <${Head} title="Config">${data ? (data.stale ? "An edit is not in force: the snapshot before it holds." : "The files are in force as they are.") : ""}<//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${error && !data ? null : html`
      <${Problems} data=${data} />
      <${Figures} data=${data} />
      ${there ? html`
        <${History} history=${data.history} />
        <${Shadow} ...${shadow} />
        <${State} state=${data.state} />
        <${Files} files=${data.files} />` : html`<p class="section" aria-busy="true"><${Bone} width="50%" /></p>`}`}`;
}

function Problems({ data }) {
  if (!data) return null;
  return html`
    ${data.problems.length ? html`<div class="problems" role="alert"><h2>${plural(data.problems.length, "mistake")} in the files</h2>
      <ul>${data.problems.map((p) => html`<li><${Where} at=${p.line ? `${p.file}:${p.line}` : p.file} /> <span>${plain(tidy(p), 600)}</span></li>`)}</ul>
      <p>Nothing of the edit is in force. Correct the file; it is read again within a second.</p></div>` : null}
    ${data.restart?.length ? html`<div class="banner warn" role="status">Changed, but in force only after a restart: ${data.restart.map((r) => plain(r, 60)).join(", ")}</div>` : null}`;
}

// The place stands beside the words already.
const tidy = (p) => p.text.replace(`${p.file}:${p.line}: `, "").replace(`${p.file}: `, "");

function Figures({ data }) {
  const counts = data?.counts;
  return html`<dl class="figures">
    <${Figure} name="Snapshot" value=${data && html`<code title=${data.version}>${shortId(data.version)}</code>`} note=${data && html`since <${Ago} t=${data.since} />`} />
    <${Figure} name="Agents" value=${counts && count(counts.agents)} note=${counts && plural(counts.budgets, "budget")} />
    <${Figure} name="Rules" value=${counts && count(counts.rules)} note="of your own and those that ship" />
    <${Figure} name="Models" value=${counts && count(counts.models)} note=${counts && plural(counts.providers, "provider")} />
  </dl>`;
}

function History({ history }) {
  return html`<${Section} id="changes" title="What changed" note="The edits that this process has seen.">
    ${history.length ? html`<ol class="changes">${history.map((h) => html`<${Change} change=${h} />`)}</ol>`
      : html`<${Empty} title="No edits since the start">Save one of the files: it is checked and put in force within a second, or refused with its file and line.<//>`}
  <//>`;
}

function Change({ change: h }) {
  const applied = h.outcome === "applied";
  const files = [["changed", h.changed], ["added", h.added], ["removed", h.removed]].filter(([, names]) => names?.length);
  return html`<li>
    <span class="change-when"><${Ago} t=${h.time} /></span>
    <span><${Mark} kind=${applied ? "good" : "bad"} shape=${applied ? "check" : "cross"}>${words(h.outcome)}<//></span>
    <span class="change-what">
      ${files.map(([verb, names]) => html`<span>${verb} ${names.slice(0, 8).map((n) => html`<${Where} at=${n} /> `)}${names.length > 8 ? `and ${names.length - 8} more` : ""}</span>`)}
      ${files.length ? null : html`<span class="dim">${applied ? "as it stands" : "the files"}</span>`}
      ${(h.problems ?? []).slice(0, 5).map((p) => html`<span class="change-problem"><${Where} at=${p.line ? `${p.file}:${p.line}` : p.file} /> ${plain(tidy(p), 300)}</span>`)}
    </span>
    <code title=${h.version}>${shortId(h.version)}</code>
  </li>`;
}

function Shadow({ data, error, reload }) {
  const columns = [
    { key: "rule", title: "Rule", cell: (r) => html`<span class="clamp"><${Where} at=${r.rule} /></span>` },
    { key: "reason", title: "Would be", width: "13rem", cls: "p2", cell: (r) => html`<${Chip} kind="accent">${words(r.reason)}<//>` },
    { key: "count", title: "Times", cls: "num", width: "6rem", cell: (r) => count(r.count) },
    { key: "agents", title: "Agents", cls: "num p2", width: "6rem", cell: (r) => count(r.agents) },
    { key: "example", title: "Example", cls: "p3", width: "24%", cell: (r) => (r.examples[0] ? html`<a href=${href(["decisions", r.examples[0].id])}><${Name} most=${30}>${r.examples[0].agent}<//>, <${Ago} t=${r.examples[0].time} /></a>` : "") },
    { key: "last", title: "Last", cls: "num", width: "7rem", cell: (r) => html`<${Ago} t=${r.last} />` },
  ];
  return html`<${Section} id="shadow" title="What would have been refused" note="Findings of the last day by what runs in shadow mode: it says, and lets pass.">
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${data && !data.rules.length ? html`<${Empty} title="No shadow findings">Write <code>mode: shadow</code> at a rule, a guard or an agent to see here what it would refuse before it does.<//>`
      : html`<${Table} label="Shadow findings" columns=${columns} rows=${data?.rules} bones=${3} id=${(r) => `${r.rule}/${r.reason}`} />`}
  <//>`;
}

function State({ state }) {
  if (!state) return null;
  const plainly = (value) => (Array.isArray(value) ? (value.length ? value.join(", ") : "none") : typeof value === "object" && value ? JSON.stringify(value) : value === true ? "yes" : value === false ? "no" : String(value));
  const fine = (key, value) => (["store", "ledger", "control"].includes(key) && value !== "ok") || (key === "circuits_open" && value.length);
  return html`<${Section} id="state" title="State of the server"><dl class="facts">
    ${Object.entries(state).map(([key, value]) => html`<dt>${words(key)}</dt><dd>${fine(key, value) ? html`<${Mark} kind="bad" shape="triangle">${plain(plainly(value), 300)}<//>` : plain(plainly(value), 300)}</dd>`)}
  </dl><//>`;
}

function Files({ files }) {
  const columns = [
    { key: "path", title: "File", cell: (f) => html`<${Where} at=${f.path} />` },
    { key: "bytes", title: "Bytes", cls: "num p2", width: "8rem", cell: (f) => count(f.bytes) },
    { key: "sha256", title: "SHA-256", width: "9rem", cell: (f) => html`<code title=${f.sha256}>${shortId(f.sha256)}</code>` },
  ];
  return html`<${Section} id="files" title="Files" note=${files ? `${plural(files.length, "file")} in this snapshot` : ""}>
    <${Table} label="Files" columns=${columns} rows=${files?.slice(0, 200)} bones=${4} id=${(f) => f.path} />
    ${files?.length > 200 ? html`<p class="dim">and ${count(files.length - 200)} more</p>` : null}
  <//>`;
}
