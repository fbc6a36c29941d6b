// Reading over loopback needs no token, changing something always does: then this asks for it first, and goes on.
import { html, useEffect, useState } from "../ui.js";
import { session } from "../session.js";
import { Dialog } from "./dialog.js";
import { LoginForm } from "../pages/login.js";

let open = null;

// Run `act` once the reader may change something; asks for the token where it is missing.
export function changing(act) {
  if (session.value.changes) act();
  else open?.(() => act);
}

// The same for what is shown to those alone who signed in.
export const signInFor = (act) => open?.(() => act);

export const signInFirst = () => open?.(() => () => {});

export function SignInHost() {
  const [then, setThen] = useState(null);
  useEffect(() => {
    open = setThen;
    return () => {
      open = null;
    };
  }, []);
  if (!then) return null;
  const close = () => setThen(null);
  const done = () => {
    close();
    then();
  };
  return session.value.token_set
    ? html`<${Dialog} title="Sign in to go on" onClose=${close}>
        <p>Figures can be read on this machine without it. Stopping, resuming, deciding and reading what was said need the admin token.</p>
        <${LoginForm} onDone=${done} />
      <//>`
    : html`<${Dialog} title="Nothing can be changed from here" onClose=${close}>
        <p>Set <code>FLEETGATE_ADMIN_TOKEN</code> where the server runs and start it again. Until then <code>fleetgate kill</code> and
          ${" "}<code>fleetgate approvals</code> do the same on the command line.</p>
        <div class="acts"><button class="button" type="button" onClick=${close}>Close</button></div>
      <//>`;
}
