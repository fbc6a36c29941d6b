// What a page shows while it waits, when there is nothing, and when something failed.
import { html } from "../ui.js";
import { plain } from "../format.js";

export function Empty({ title, children }) {
  return html`<div class="empty"><strong>${title}</strong><p>${children}</p></div>`;
}

export function Failed({ error, retry, kept }) {
  if (!error) return null;
  const seen = kept ? " What is shown is from before." : "";
  return html`<div class="failed" role="alert">
    <span>${plain(error.message, 400)}${seen}</span>
    ${retry && html`<button class="button small" type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

export function Bone({ width = "60%" }) {
  return html`<span class="bone" style=${{ width }} aria-hidden="true"></span>`;
}

export function Figure({ name, value, unit, note }) {
  return html`<div class="figure">
    <dt>${name}</dt>
    <dd>${value ?? html`<${Bone} width="4rem" />`}${unit && value != null ? html`<span class="unit">${unit}</span>` : null}</dd>
    <dd>${note ?? ""}</dd>
  </div>`;
}

export function Section({ title, note, id, children, aside }) {
  return html`<section class="section" aria-labelledby=${id}>
    <header><div><h2 id=${id}>${title}</h2>${note ? html`<p>${note}</p>` : null}</div>${aside ?? null}</header>
    ${children}
  </section>`;
}

export function Head({ title, children, crumb, aside }) {
  return html`<div class="head">
    <div>
      ${crumb ? html`<div class="crumb">${crumb}</div>` : null}
      <h1 tabindex="-1" id="title">${title}</h1>
      <p>${children}</p>
    </div>
    ${aside ?? null}
  </div>`;
}
