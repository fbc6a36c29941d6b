// The dashboard: signs in, frames every page, and chooses which one to show.
import { html, render, useEffect, useRef, useState } from "./ui.js";
import { session, useSession } from "./session.js";
import { start, stop } from "./live.js";
import { useRoute, href } from "./route.js";
import { useKeys } from "./keys.js";
import { Side } from "./side.js";
import { Help } from "./help.js";
import { Toast } from "./parts/toast.js";
import { SignInHost } from "./parts/signin.js";
import { plain } from "./format.js";
import { PAGES } from "./pages.js";
import { Login } from "./pages/login.js";

function App() {
  const who = useSession();
  useEffect(() => {
    session.check().then((answered) => !answered && setTimeout(() => session.check(), 2000));
  }, []);
  useEffect(() => {
    if (who.reads) start();
    else stop();
  }, [who.reads]);
  if (!who.known) return html`<div class="begin" aria-busy="true">Fleetgate</div>`; // as in index.html
  return who.reads ? html`<${House} />` : html`<${Login} />`;
}

function House() {
  const route = useRoute();
  const [help, setHelp] = useState(false);
  useKeys({ help: () => setHelp(true) });
  const name = route.path[0] ?? "fleet";
  const page = Object.hasOwn(PAGES, name) ? PAGES[name] : null;
  const shown = page && route.path.length > 1 && page.one ? page.one : page?.all;
  const key = route.path.join("/");
  useArrival(key, page ? page.title : "Not found", route.path.at(-1) === name ? "" : route.path.at(-1));
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the page</a>
    <div class="shell">
      <${Side} here=${name} />
      <main class="main" id="main" tabindex="-1" key=${key}>
        ${shown ? html`<${shown} path=${route.path} query=${route.query} />` : html`<${Lost} />`}
      </main>
    </div>
    ${help ? html`<${Help} onClose=${() => setHelp(false)} />` : null}
    <${SignInHost} />
    <${Toast} />`;
}

function skip(event) {
  event.preventDefault(); // the # is the route
  document.getElementById("main").focus();
}

// A new page begins at its top, with its name read out and in the window's title.
function useArrival(key, title, of) {
  const first = useRef(true);
  useEffect(() => {
    document.title = `${of ? `${plain(of, 40)} · ` : ""}${title} · Fleetgate`;
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    document.getElementById("title")?.focus({ preventScroll: true });
  }, [key]);
}

function Lost() {
  return html`<div class="head"><div><h1 tabindex="-1" id="title">There is no such page</h1><p><a href=${href(["fleet"])}>Go to the fleet</a></p></div></div>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
