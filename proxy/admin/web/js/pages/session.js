// One session: every exchange on a timeline, and the run that it belongs to as a graph.
import { html, useState, useEffect } from "../ui.js";
import { useApi, get, num } from "../api.js";
import { href, sessionName } from "../route.js";
import { count, short, usd, exactly, span, plural, plain } from "../format.js";
import { Timeline } from "../parts/timeline.js";
import { Graph } from "../parts/graph.js";
import { Head, Figure, Failed, Empty, Section, Bone } from "../parts/states.js";
import { Name, Ago } from "../parts/marks.js";
import { StopDialog } from "../parts/stop.js";
import { changing } from "../parts/signin.js";

const SIZE = 100;

export function Session({ path }) {
  const name = path.slice(1).join("/");
  const { data, error, reload } = useApi(`sessions/${encodeURIComponent(name)}`, { limit: SIZE }, { every: 5000 });
  const run = useApi(data?.run ? `runs/${encodeURIComponent(data.run)}` : null, {}, { every: 10_000 });
  const there = data && (!data.run || run.data || run.error); // the graph would push the timeline down
  const s = data?.session;
  return html`
    <${Head} title=${html`<${Name} most=${60}>${sessionName(name)}<//>`} crumb=${html`<a href=${href(["sessions"])}>Sessions</a>`} aside=${s ? html`<${Stop} session=${s} />` : null}>
      ${s ? html`Session of <a href=${href(["fleet", s.agent])}><${Name} most=${60}>${s.agent}<//></a>, last call <${Ago} t=${s.last} />` : ""}
    <//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${error && !data ? null : html`
      <dl class="figures">
        <${Figure} name="Cost" value=${s && usd(num(s.usd))} note=${s && `${short(s.tokens)} tokens`} />
        <${Figure} name="Calls" value=${s && count(s.calls)} note=${s && (s.refused ? `${count(s.refused)} refused` : "none refused")} />
        <${Figure} name="Began" value=${s && html`<${Ago} t=${s.first} />`} note=${s && exactly(s.first)} />
        <${Figure} name="Lasted" value=${s && span(s.last - s.first)} note=${s?.run ? `in run ${plain(s.run, 40)}` : ""} />
      </dl>
      ${there ? html`${data.run ? html`<${Run} ...${run} here=${s.session} />` : null}<${Exchanges} data=${data} name=${name} />`
        : html`<p class="section" aria-busy="true"><${Bone} width="70%" /></p>`}`}`;
}

function Stop({ session: s }) {
  const [open, setOpen] = useState(false);
  return html`<div><button class="button" type="button" onClick=${() => changing(() => setOpen(true))}>Stop this session…</button>
    ${open ? html`<${StopDialog} target=${`session:${s.session}`} onClose=${() => setOpen(false)} />` : null}</div>`;
}

function Run({ data, error, reload, here }) {
  if (data && data.nodes.length < 2) return null;
  const total = data?.nodes.reduce((sum, node) => sum + (num(node.usd) ?? 0), 0);
  return html`<${Section} id="run" title="Who asked whom" note=${data ? `${plural(data.nodes.length, "session")} in this run, ${usd(total)} together${data.more ? "; there are more" : ""}` : ""}>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${data ? html`<${Graph} nodes=${data.nodes} edges=${data.edges} current=${here} />` : null}
  <//>`;
}

function Exchanges({ data, name }) {
  const [older, setOlder] = useState({ rows: [], next: undefined, error: null, busy: false });
  useEffect(() => setOlder({ rows: [], next: undefined, error: null, busy: false }), [name]);
  const known = new Set((data?.exchanges ?? []).map((e) => e.id));
  const all = [...(data?.exchanges ?? []), ...older.rows.filter((e) => !known.has(e.id))].reverse();
  const next = older.next === undefined ? data?.next : older.next;
  const more = async () => {
    setOlder((old) => ({ ...old, busy: true, error: null }));
    try {
      const page = await get(`sessions/${encodeURIComponent(name)}`, { limit: SIZE, cursor: next });
      setOlder((old) => ({ rows: [...old.rows, ...page.exchanges], next: page.next, error: null, busy: false }));
    } catch (e) {
      setOlder((old) => ({ ...old, error: e, busy: false }));
    }
  };
  return html`<${Section} id="timeline" title="Timeline" note="From the first call to the last. The darker part of a bar is the wait for the first token."
    aside=${next ? html`<button class="button small" type="button" disabled=${older.busy} onClick=${more}>Load earlier calls</button>` : null}>
    <${Failed} error=${older.error} retry=${more} />
    ${all.length ? html`<${Timeline} exchanges=${all} content=${Boolean(data?.content)} />`
      : html`<${Empty} title="No exchange is kept of this session">They are written a moment after they end; old ones are removed when their time is over.<//>`}
  <//>`;
}
