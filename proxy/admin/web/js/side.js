// The side bar: pages, what waits on them, whether the page is live, who is signed in.
import { html, useEffect, useState } from "./ui.js";
import { useApi } from "./api.js";
import { href, useRoute } from "./route.js";
import { useSession, signOut } from "./session.js";
import { useStatus, useLive } from "./live.js";
import { useDark, flipTheme } from "./themes.js";
import { PAGES } from "./pages.js";
import { plain } from "./format.js";
import { signInFirst } from "./parts/signin.js";
import { say } from "./parts/toast.js";

const GROUPS = [...new Set(Object.values(PAGES).map((page) => page.group))];
const LIVE = { live: ["on", "Live"], connecting: ["", "Connecting"], lost: ["off", "Reconnecting"] };

export function Side({ here }) {
  const [open, setOpen] = useState(false);
  const counts = useCounts();
  const { path } = useRoute();
  useEffect(() => setOpen(false), [path.join("/")]);
  const closes = (event) => event.key === "Escape" && setOpen(false);
  return html`<header class=${`side ${open ? "open" : ""}`} onKeyDown=${closes}>
    <a class="brand" href=${href(["fleet"])}>
      <svg viewBox="0 0 18 18" aria-hidden="true"><path d="M2 16V7a7 7 0 0 1 14 0v9M6 16V7.5a3 3 0 0 1 6 0V16" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" /></svg>
      Fleetgate
    </a>
    <button class="burger" type="button" aria-expanded=${open ? "true" : "false"} aria-controls="nav" onClick=${() => setOpen(!open)}>
      <span class="hush">Pages, now </span>${PAGES[here]?.title ?? "Menu"}<svg viewBox="0 0 10 10" aria-hidden="true"><path d=${open ? "M2 6.5 5 3.5 8 6.5" : "M2 3.5 5 6.5 8 3.5"} /></svg>
    </button>
    <nav class="nav" id="nav" aria-label="Pages">
      ${GROUPS.map((group) => html`<div><h2>${group}</h2><ul>
        ${Object.entries(PAGES).filter(([, page]) => page.group === group).map(([name, page]) => html`<li>
          <a href=${href([name])} aria-current=${here === name ? "page" : undefined}>${page.title}<${Count} of=${counts[name]} /></a>
        </li>`)}
      </ul></div>`)}
    </nav>
    <${Foot} />
  </header>`;
}

function Count({ of }) {
  if (!of?.n) return null;
  return html`<span class=${`count ${of.kind}`}><span aria-hidden="true">${of.n}</span><span class="hush">, ${of.n} ${of.words}</span></span>`;
}

function useCounts() {
  const kills = useApi("kill", {}, { on: ["kill"] });
  const approvals = useApi("approvals", {}, { on: ["approvals"] });
  const [problems, setProblems] = useState(null);
  const config = useApi("config", {}, {});
  useLive("config", (data) => setProblems(data.problems));
  const waiting = approvals.data?.approvals.filter((a) => a.status === "pending" && a.state !== "over").length;
  return {
    approvals: { n: waiting, kind: "warn", words: "waiting" },
    kill: { n: kills.data?.kills.length, kind: "bad", words: "in force" },
    config: { n: problems ?? config.data?.problems.length, kind: "bad", words: "errors" },
  };
}

function Foot() {
  const status = useStatus();
  const dark = useDark();
  const who = useSession();
  const [dot, word] = LIVE[status] ?? LIVE.connecting;
  const leave = () => signOut().catch((e) => say(e.message));
  return html`<div class="foot">
    <div class="live" role="status"><span class=${`dot ${dot}`} aria-hidden="true"></span>${word}</div>
    <div class="tools">
      <button class="quiet" type="button" onClick=${flipTheme} aria-label=${`Switch to ${dark ? "light" : "dark"} colours`}>${dark ? "Light" : "Dark"}</button>
      ${who.how === "session" ? html`<button class="quiet" type="button" onClick=${leave}>Sign out</button>` : null}
      ${who.changes ? null : html`<button class="quiet" type="button" onClick=${signInFirst}>Sign in</button>`}
      <span class="quiet">${plain(who.version, 20)}</span>
    </div>
  </div>`;
}
