// Stopping an agent, a team, a model or all: what, why, for how long; and lifting that again.
import { html, useState } from "../ui.js";
import { post } from "../api.js";
import { plain } from "../format.js";
import { Ask, Field } from "./dialog.js";
import { say } from "./toast.js";

export const SPANS = [["15m", "15 minutes"], ["1h", "1 hour"], ["8h", "8 hours"], ["1d", "1 day"], ["", "until it is resumed"]];
const MEANS = {
  agent: "Its new calls are refused and its streams are cut within a second.",
  team: "New calls of all its agents are refused and their streams are cut within a second.",
  model: "Calls that ask for it are refused; it is taken out of the routes of others.",
  session: "Its new calls are refused and its streams are cut within a second.",
  run: "The run and everything it delegated are refused and cut within a second.",
  key: "Calls with this key are refused and its streams are cut within a second.",
  all: "Every call of every agent is refused and every stream is cut within a second.",
};

export function StopDialog({ target, onClose }) {
  const [reason, setReason] = useState("");
  const [span, setSpan] = useState("1h");
  const [typed, setTyped] = useState("");
  const [kind, name] = split(target);
  const sure = kind !== "all" || typed.trim().toLowerCase() === "all";
  const act = async () => {
    await post("kill", { target, reason: reason.trim(), ...(span ? { for: span } : {}) });
    say(kind === "all" ? "Everything is stopped." : `Stopped ${plain(name, 40)}.`);
  };
  return html`<${Ask} title=${kind === "all" ? "Stop everything?" : `Stop ${kind} ${plain(name, 60)}?`} verb=${kind === "all" ? "Stop everything" : "Stop it"}
    danger ready=${reason.trim() !== "" && sure} onClose=${onClose} act=${act}>
    <p>${MEANS[kind] ?? ""}</p>
    <${Field} name="Why" hint="The agents are told it."><input class="input" value=${reason} maxlength="400" required autofocus onInput=${(e) => setReason(e.currentTarget.value)} /><//>
    <${Field} name="For how long"><select class="input" value=${span} onChange=${(e) => setSpan(e.currentTarget.value)}>
      ${SPANS.map(([key, word]) => html`<option value=${key}>${word}</option>`)}
    </select><//>
    ${kind === "all" ? html`<${Field} name="Type “all” to confirm"><input class="input" value=${typed} onInput=${(e) => setTyped(e.currentTarget.value)} /><//>` : null}
  <//>`;
}

export function ResumeDialog({ target, onClose }) {
  const [reason, setReason] = useState("");
  const [kind, name] = split(target);
  const act = async () => {
    await post("resume", { target, reason: reason.trim() });
    say(`Resumed ${kind === "all" ? "everything" : plain(name, 40)}.`);
  };
  return html`<${Ask} title=${`Resume ${kind === "all" ? "everything" : `${kind} ${plain(name, 60)}`}?`} verb="Resume" onClose=${onClose} act=${act}>
    <p>Exactly this stop is lifted. What another one covers stays stopped.</p>
    <${Field} name="Why" hint="Optional; it stands in the log."><input class="input" value=${reason} maxlength="400" autofocus onInput=${(e) => setReason(e.currentTarget.value)} /><//>
  <//>`;
}

function split(target) {
  const at = target.indexOf(":");
  return at < 0 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}
