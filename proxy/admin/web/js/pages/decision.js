// One exchange, whatever became of it: its story in words, and everything that is known of it.
import { html } from "../ui.js";
import { useApi } from "../api.js";
import { href, sessionHref, sessionName } from "../route.js";
import { exactly, plain, words } from "../format.js";
import { Details } from "../parts/timeline.js";
import { Head, Failed, Section, Bone } from "../parts/states.js";
import { Name, Outcome, Where } from "../parts/marks.js";

export function Decision({ path }) {
  const id = path[1];
  const { data, error, reload } = useApi(`decisions/${encodeURIComponent(id)}`);
  const e = data?.view;
  const r = data?.exchange;
  return html`
    <${Head} title=${e ? (e.outcome === "ok" ? "Served" : words(e.reason || e.outcome)) : "Decision"} crumb=${html`<a href=${href(["decisions"])}>Decisions</a>`}>
      ${r ? html`${r.agent ? html`<a href=${href(["fleet", r.agent])}><${Name} most=${60}>${r.agent}<//></a>` : "Nobody known"}${r.session ? html`, session <a href=${sessionHref(r.session)}><${Name} most=${40}>${sessionName(r.session)}<//></a>` : null}, ${exactly(r.time)}` : ""}
    <//>
    <${Failed} error=${error} retry=${reload} />
    ${error && !data ? null : !e ? html`<p aria-busy="true"><${Bone} width="60%" /></p>` : html`
      ${e.outcome === "ok" ? null : html`<div class="verdict">
        <p class="verdict-why"><${Outcome} outcome=${e.outcome} reason=${e.reason} /> ${plain(e.message, 1000)}</p>
        ${e.rule ? html`<p>Written in <${Where} at=${e.rule} /></p>` : null}
        ${e.remedy ? html`<p><strong>What helps:</strong> ${plain(e.remedy, 1000)}</p>` : null}
      </div>`}
      <${Section} id="story" title="What each step said"><pre class="pre" tabindex="0">${plain(data.explain, 20_000, true)}</pre><//>
      <${Section} id="facts" title="The exchange"><${Details} exchange=${e} content=${Boolean(data.content)} /><//>`}`;
}
