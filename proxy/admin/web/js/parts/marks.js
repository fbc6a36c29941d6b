// Signs beside words: state is never in colour alone.
import { html } from "../ui.js";
import { plain, words, ago, exactly } from "../format.js";
import { useNow } from "../live.js";

const SHAPES = {
  full: html`<circle cx="5" cy="5" r="4" fill="currentColor" />`,
  ring: html`<circle cx="5" cy="5" r="3.5" fill="none" stroke="currentColor" stroke-width="1.5" />`,
  half: html`<g><circle cx="5" cy="5" r="3.5" fill="none" stroke="currentColor" stroke-width="1.5" /><path d="M5 1.5a3.5 3.5 0 0 1 0 7z" fill="currentColor" /></g>`,
  triangle: html`<path d="M5 1 9.5 9h-9z" fill="currentColor" />`,
  square: html`<rect x="1" y="1" width="8" height="8" rx="1" fill="currentColor" />`,
  cross: html`<path d="M1.5 1.5l7 7m0-7l-7 7" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" />`,
  check: html`<path d="M1 5.5l2.7 2.7L9 2" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" />`,
  turn: html`<path d="M8.6 5A3.6 3.6 0 1 1 7 2M7.2 0v2.3H4.9" fill="none" stroke="currentColor" stroke-width="1.4" />`,
};

export function Sign({ shape }) {
  return html`<svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">${SHAPES[shape] ?? SHAPES.ring}</svg>`;
}

export function Mark({ kind = "", shape = "ring", title, children }) {
  return html`<span class=${`mark ${kind}`} title=${title}><${Sign} shape=${shape} /><span>${children}</span></span>`;
}

const OUTCOMES = {
  ok: ["good", "check", "ok"],
  denied: ["bad", "cross", "refused"],
  upstream_error: ["warn", "triangle", "provider failed"],
  client_gone: ["calm", "ring", "client left"],
  error: ["bad", "triangle", "fault"],
  expired: ["warn", "half", "expired"],
  lost: ["warn", "half", "lost"],
};

export function Outcome({ outcome, reason }) {
  const [kind, shape, word] = OUTCOMES[outcome] ?? ["calm", "ring", words(outcome || "open")];
  return html`<${Mark} kind=${kind} shape=${shape}>${reason ? words(reason) : word}<//>`;
}

// A name that came from outside: cut, without characters that turn or hide text, and apart from its surroundings.
export function Name({ children, most = 80 }) {
  const text = String(children ?? "");
  return html`<bdi title=${text.length > most ? plain(text, 400) : undefined}>${plain(text, most)}</bdi>`;
}

export function Ago({ t }) {
  const now = useNow();
  if (!t) return html`<span class="dim">–</span>`;
  return html`<time datetime=${new Date(t * 1000).toISOString()} title=${exactly(t)}>${ago(t, now)}</time>`;
}

export function Chip({ kind = "", title, children }) {
  return html`<span class=${`chip ${kind}`} title=${title}>${children}</span>`;
}

export function Where({ at }) {
  return at ? html`<span class="where">${plain(at, 160)}</span>` : null;
}
