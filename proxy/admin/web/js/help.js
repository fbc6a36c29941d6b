// What the keys do.
import { html } from "./ui.js";
import { PAGES } from "./pages.js";
import { Dialog } from "./parts/dialog.js";

const KEYS = [
  [["/"], "Search this page"],
  [["j"], "Next row"],
  [["k"], "Previous row"],
  [["t"], "Light or dark"],
  [["Esc"], "Leave a field or a dialog"],
];

export function Help({ onClose }) {
  const pages = Object.values(PAGES).map((page) => [["g", page.key], page.title]);
  return html`<${Dialog} title="Keys" onClose=${onClose}>
    <dl class="keys">${[...KEYS, ...pages].map(([keys, what]) => html`<dt>${keys.map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${what}</dd>`)}</dl>
    <div class="acts"><button class="button" type="button" onClick=${onClose}>Close</button></div>
  <//>`;
}
