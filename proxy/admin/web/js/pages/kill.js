// The kill switch: what is stopped, stopping more, lifting it, and who did what.
import { html, useState, useId } from "../ui.js";
import { useApi } from "../api.js";
import { useNow } from "../live.js";
import { plain, plural, span, words, exactly } from "../format.js";
import { Table } from "../parts/table.js";
import { Head, Failed, Empty, Section } from "../parts/states.js";
import { Mark, Name, Ago } from "../parts/marks.js";
import { StopDialog, ResumeDialog } from "../parts/stop.js";
import { changing } from "../parts/signin.js";

const KINDS = [["agent", "Agent"], ["team", "Team"], ["model", "Model"], ["all", "Everything"]];

export function Kill() {
  const { data, error, reload } = useApi("kill", {}, { on: ["kill"], every: 10_000 });
  const [open, setOpen] = useState(null);
  const close = () => {
    setOpen(null);
    reload();
  };
  return html`
    <${Head} title="Kill switch">${data ? (data.kills.length ? `${plural(data.kills.length, "stop")} in force.` : "Nothing is stopped.") : ""}<//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    <${Chooser} onStop=${(target) => changing(() => setOpen({ verb: "stop", target }))} />
    <${Section} id="now" title="Stopped now">
      ${data && !data.kills.length ? html`<${Empty} title="Nothing is stopped">A stop refuses new calls and cuts streams everywhere within a second, until its time is over or it is resumed.<//>`
        : html`<${Stopped} kills=${data?.kills} onResume=${(target) => changing(() => setOpen({ verb: "resume", target }))} />`}
    <//>
    <${Section} id="log" title="Who did what" note="This log only grows.">
      ${data && !data.log.length ? html`<${Empty} title="Nobody has done anything yet">Stops, resumes, decisions and who read what was said are listed here.<//>` : html`<${Log} entries=${data?.log} />`}
    <//>
    ${open?.verb === "stop" ? html`<${StopDialog} target=${open.target} onClose=${close} />` : null}
    ${open?.verb === "resume" ? html`<${ResumeDialog} target=${open.target} onClose=${close} />` : null}`;
}

function Chooser({ onStop }) {
  const [kind, setKind] = useState("agent");
  const [name, setName] = useState("");
  const id = useId();
  const agents = useApi(kind === "agent" ? "fleet" : null, { q: name.slice(0, 100), limit: 20, sort: "agent" });
  const fleet = useApi(kind === "team" ? "fleet" : null, { limit: 1 });
  const known = kind === "agent" ? (agents.data?.agents ?? []).map((a) => a.agent) : kind === "team" ? fleet.data?.teams ?? [] : [];
  const submit = (event) => {
    event.preventDefault();
    if (kind === "all" || name.trim()) onStop(kind === "all" ? "all" : `${kind}:${name.trim()}`);
  };
  return html`<form class="chooser" onSubmit=${submit} autocomplete="off">
    <fieldset><legend>What to stop</legend>
      ${KINDS.map(([key, word]) => html`<label><input type="radio" name="kind" value=${key} checked=${kind === key} onChange=${() => { setKind(key); setName(""); }} /><span>${word}</span></label>`)}
    </fieldset>
    ${kind === "all" ? html`<p class="dim chooser-all">Every call of every agent is refused, every stream is cut.</p>`
      : html`<label class="field"><span>Name</span><input class="input" data-search value=${name} list=${id} required maxlength="300" spellcheck=${false}
          placeholder=${kind === "model" ? "gpt-4o, or claude-*" : kind === "team" ? "payments, or web-*" : "invoice-triage, or crawler-*"} onInput=${(e) => setName(e.currentTarget.value)} />
          <datalist id=${id}>${known.slice(0, 50).map((n) => html`<option value=${n.slice(0, 200)}></option>`)}</datalist></label>`}
    <button class="button danger" type="submit" disabled=${kind !== "all" && !name.trim()}>Stop…</button>
  </form>`;
}

function Until({ t, now }) {
  return t ? html`<span title=${exactly(t)}>${t > now ? `${span(t - now, 1)} left` : "over"}</span>` : "until resumed";
}

function Stopped({ kills, onResume }) {
  const now = useNow();
  const columns = [
    { key: "target", title: "What", width: "24%", cell: (k) => html`<${Mark} kind="bad" shape="square"><${Name} most=${60}>${k.target}<//><//>` },
    { key: "reason", title: "Why", cls: "p2", cell: (k) => html`<span title=${plain(k.reason, 400)}>${plain(k.reason, 160)}</span>` },
    { key: "by", title: "By", cls: "p3", width: "22%", cell: (k) => html`<span title=${plain(k.by, 400)}>${plain(k.by, 80)}</span>` },
    { key: "since", title: "Since", cls: "num p3", width: "7rem", cell: (k) => html`<${Ago} t=${k.since} />` },
    { key: "until", title: "Until", cls: "num", width: "8rem", cell: (k) => html`<${Until} t=${k.until} now=${now} />` },
    { key: "act", title: "", label: "Resume", cls: "num", width: "6.5rem", cell: (k) => html`<button class="button small" type="button" aria-label=${`Resume ${plain(k.target, 60)}`} onClick=${() => onResume(k.target)}>Resume…</button>` },
  ];
  return html`<${Table} label="Stopped now" columns=${columns} rows=${kills} bones=${2} id=${(k) => k.target} />`;
}

const ACTS = { kill: ["bad", "square", "stopped"], resume: ["good", "full", "resumed"], approve: ["good", "check", "approved"], deny: ["bad", "cross", "denied"], read: ["calm", "ring", "read"], erase: ["warn", "cross", "erased"] };

function Log({ entries }) {
  const columns = [
    { key: "time", title: "When", width: "7rem", cell: (e) => html`<${Ago} t=${e.time} />` },
    { key: "action", title: "Did", width: "7.5rem", cell: (e) => html`<${Mark} kind=${ACTS[e.action]?.[0]} shape=${ACTS[e.action]?.[1]}>${ACTS[e.action]?.[2] ?? words(e.action)}<//>` },
    { key: "target", title: "What", width: "30%", cell: (e) => html`<${Name} most=${80}>${e.target}<//>` },
    { key: "reason", title: "Why", cls: "p3", cell: (e) => html`<span title=${plain(e.reason, 400)}>${plain(e.reason, 160)}</span>` },
    { key: "by", title: "By", cls: "p2", width: "24%", cell: (e) => html`<span class="clamp" title=${plain(e.by, 400)}>${plain(e.by, 80)}</span>` },
  ];
  return html`<${Table} label="Log" columns=${columns} rows=${entries} bones=${4} id=${(e) => `${e.time}/${e.action}/${e.target}`} />`;
}
