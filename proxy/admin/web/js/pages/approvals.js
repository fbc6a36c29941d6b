// What agents wait for: a person says yes or no, and why.
import { html, useState } from "../ui.js";
import { useApi, post } from "../api.js";
import { useNow } from "../live.js";
import { sessionHref, sessionName } from "../route.js";
import { exactly, plain, plural, span, words } from "../format.js";
import { Table } from "../parts/table.js";
import { Head, Failed, Empty, Section } from "../parts/states.js";
import { Mark, Name, Ago, Where } from "../parts/marks.js";
import { Ask, Field } from "../parts/dialog.js";
import { changing } from "../parts/signin.js";
import { say } from "../parts/toast.js";

const FOR = [["", "this once"], ["1h", "the same for 1 hour"], ["8h", "the same for 8 hours"]];

export function Approvals() {
  const { data, error, reload } = useApi("approvals", {}, { on: ["approvals"], every: 5000 });
  const [asked, setAsked] = useState(null);
  const pending = (data?.approvals ?? []).filter((a) => a.status === "pending" && a.state !== "over");
  const done = (data?.approvals ?? []).filter((a) => !pending.includes(a));
  const decide = (item, allow) => changing(() => setAsked({ item, allow }));
  return html`
    <${Head} title="Approvals">${data ? (pending.length ? `${plural(pending.length, "question")} ${pending.length === 1 ? "waits" : "wait"} for a person.` : "Nobody waits for you.") : ""}<//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${data && !pending.length ? html`<${Empty} title="Nothing to decide">Calls that a rule holds with <code>require_approval</code> wait here, with what the tool would be given.<//>` : null}
    <ul class="cases">${pending.map((item) => html`<${Case} key=${item.id} item=${item} onDecide=${decide} />`)}</ul>
    ${done.length ? html`<${Section} id="decided" title="Decided of late"><${Decided} rows=${done} /><//>` : null}
    ${asked ? html`<${Decide} asked=${asked} onClose=${() => setAsked(null)} onDone=${reload} />` : null}`;
}

function Case({ item: c, onDecide }) {
  const now = useNow();
  const waits = c.waits > now;
  return html`<li class="case" data-row>
    <div class="case-head">
      <h2><${Name} most=${60}>${c.agent}<//> wants <span class="what"><${Name} most=${80}>${c.what}<//></span></h2>
      <${Mark} kind=${waits ? "warn" : "calm"} shape=${waits ? "half" : "ring"}>${waits ? `waits, ${span(c.waits - now)} left, then ${words(c.default)}` : "nobody waits any more; the next try finds what you decide"}<//>
    </div>
    ${c.why ? html`<p class="dim">${plain(c.why, 600)} <${Where} at=${c.rule} /></p>` : html`<p><${Where} at=${c.rule} /></p>`}
    ${c.preview ? html`<pre class="pre" tabindex="0" aria-label="What the tool would be given">${plain(c.preview, 6000, true)}</pre>` : null}
    <div class="case-foot">
      <span class="dim">Asked <${Ago} t=${c.asked} /> in session <a href=${sessionHref(c.session)}><${Name} most=${32}>${sessionName(c.session)}<//></a></span>
      <span class="acts"><button class="button" type="button" onClick=${() => onDecide(c, false)}>Deny…</button>
        <button class="button main-act" type="button" onClick=${() => onDecide(c, true)}>Approve…</button></span>
    </div>
  </li>`;
}

function Decide({ asked: { item, allow }, onClose, onDone }) {
  const [reason, setReason] = useState("");
  const [span_, setSpan] = useState("");
  const act = async () => {
    await post(`approvals/${encodeURIComponent(item.id)}`, { allow, reason: reason.trim(), ...(allow && span_ ? { for: span_ } : {}) });
    say(`${allow ? "Approved" : "Denied"}: ${plain(item.what, 40)} for ${plain(item.agent, 40)}.`);
    onDone();
  };
  return html`<${Ask} title=${`${allow ? "Approve" : "Deny"} ${plain(item.what, 60)}?`} verb=${allow ? "Approve" : "Deny"} danger=${!allow} ready=${allow || reason.trim() !== ""} onClose=${onClose} act=${act}>
    <p>${allow ? "The call passes as it is shown, and no other." : "The agent reads who denied it and why, in the place of the call."}</p>
    <${Field} name="Why" hint=${allow ? "Optional; it stands on the record." : "The agent is told it."}><input class="input" value=${reason} maxlength="400" autofocus onInput=${(e) => setReason(e.currentTarget.value)} /><//>
    ${allow ? html`<${Field} name="Holds for"><select class="input" value=${span_} onChange=${(e) => setSpan(e.currentTarget.value)}>${FOR.map(([key, word]) => html`<option value=${key}>${word}</option>`)}</select><//>` : null}
  <//>`;
}

const STATUS = { approved: ["good", "check"], denied: ["bad", "cross"] };

function Decided({ rows }) {
  const columns = [
    { key: "what", title: "What", width: "26%", cell: (c) => html`<div class="two"><${Name} most=${60}>${c.what}<//><small><${Name} most=${40}>${c.agent}<//></small></div>` },
    { key: "state", title: "Decision", width: "11rem", cell: (c) => html`<${Mark} kind=${STATUS[c.status]?.[0] ?? "calm"} shape=${STATUS[c.status]?.[1] ?? "ring"}>${words(c.state)}<//>` },
    { key: "by", title: "By", cls: "p2", cell: (c) => plain(c.by, 80) },
    { key: "reason", title: "Why", cls: "p3", cell: (c) => html`<span title=${plain(c.reason, 400)}>${plain(c.reason, 160)}</span>` },
    { key: "decided", title: "When", cls: "num", width: "7rem", cell: (c) => html`<span title=${exactly(c.decided ?? c.expires)}><${Ago} t=${c.decided ?? c.expires} /></span>` },
  ];
  return html`<${Table} label="Decided of late" columns=${columns} rows=${rows} id=${(c) => c.id} />`;
}
