// What was said in one exchange: asked for when somebody opens it (each reading is logged), and shown as text, whatever it is.
import { html, useRef, useState } from "../ui.js";
import { get } from "../api.js";
import { session } from "../session.js";
import { count, exactly, plain, plural, short, words } from "../format.js";
import { Bone, Failed } from "./states.js";
import { signInFor } from "./signin.js";

const MOST = 100_000; // characters of one text that are put on the page
const LEVELS = { hash: "Hashes alone are kept.", redacted: "Without secrets and personal data.", full: "Without secrets." };
const HEADS = { tool_call: "calls", tool_result: "was given by a tool", media: "sent" };

export function Said({ id }) {
  const box = useRef(null);
  const [{ data, error, busy }, setState] = useState({ data: null, error: null, busy: false });
  const load = async () => {
    setState({ data: null, error: null, busy: true });
    try {
      setState({ data: await get(`exchanges/${encodeURIComponent(id)}/content`), error: null, busy: false });
    } catch (e) {
      setState({ data: null, error: e, busy: false });
    }
  };
  const opened = (event) => {
    if (!event.currentTarget.open || data || busy) return;
    if (session.value.changes || !session.value.token_set) {
      load();
    } else {
      box.current.open = false;
      signInFor(() => {
        box.current.open = true; // which asks for it
      });
    }
  };
  return html`<details class="said" ref=${box} onToggle=${opened}>
    <summary>What was said</summary>
    ${busy ? html`<p aria-busy="true"><${Bone} width="50%" /></p>` : null}
    <${Failed} error=${error} retry=${load} />
    ${data ? html`<${Content} content=${data} />` : null}
  </details>`;
}

function Content({ content: c }) {
  return html`
    <p class="said-note">${LEVELS[c.level] ?? ""} Kept until ${exactly(c.until)}. That you read it is in the log.</p>
    ${c.before ? html`<p class="said-note">${plural(c.before, "message")} came along that had been said before.</p>` : null}
    ${c.request.length || c.reply.length ? null : html`<p class="said-note">There was nothing new in it.</p>`}
    <ol class="turns">
      ${c.request.map((turn) => html`<${Turn} turn=${turn} />`)}
      ${c.reply.map((turn) => html`<${Turn} turn=${turn} reply=${true} note=${c.reply_cut ? "Not all of the reply was looked at." : ""} />`)}
    </ol>
    ${c.left_out ? html`<p class="said-note">${plural(c.left_out, "more message")} had no room.</p>` : null}`;
}

function Turn({ turn, reply = false, note = "" }) {
  return html`<li class=${reply ? "turn reply" : "turn"}>
    <span class="turn-role">${plain(turn.role, 30)}</span>
    <div class="turn-parts">${turn.parts.map((part) => html`<${Part} part=${part} />`)}${note ? html`<p class="said-note">${note}</p>` : null}</div>
  </li>`;
}

function Part({ part: p }) {
  const head = HEADS[p.kind];
  const name = p.kind === "media" ? `${words(p.name)}, ${short(p.size)} bytes` : plain(p.name, 80);
  return html`<div class="part">
    ${head ? html`<p class="part-head">${head}${name ? html` <code>${name}</code>` : null}</p>` : null}
    ${p.text ? html`<pre class=${p.kind === "text" ? "part-text prose" : "part-text"} tabindex="0">${plain(p.text, MOST, true)}</pre>` : null}
    ${p.cut ? html`<p class="said-note">${count(p.cut)} more characters were cut off.</p>` : null}
  </div>`;
}
