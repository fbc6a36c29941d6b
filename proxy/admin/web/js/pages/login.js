// Signing in with the admin token. It goes to the server once, in a body, and is never kept by the page.
import { html, useEffect, useRef, useState } from "../ui.js";
import { signIn, useSession } from "../session.js";

export function LoginForm({ onDone }) {
  const field = useRef(null);
  const [state, setState] = useState({ busy: false, error: "" });
  useEffect(() => field.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    const token = field.current.value.trim();
    if (!token || state.busy) return;
    setState({ busy: true, error: "" });
    try {
      await signIn(token);
      onDone?.();
    } catch (e) {
      setState({ busy: false, error: e instanceof TypeError ? "The server does not answer. Is it running?" : e.message });
      field.current?.select();
    }
  };
  return html`<form class="login-form" onSubmit=${submit}>
    <label class="field"><span>Admin token</span>
      <input ref=${field} class="input" type="password" name="token" autocomplete="current-password" required maxlength="4096"
        aria-invalid=${state.error ? "true" : undefined} aria-describedby="login-says" />
    </label>
    <p id="login-says" role="alert" class="login-says">${state.error}</p>
    <button class="button main-act" type="submit" disabled=${state.busy}>${state.busy ? "Signing in…" : "Sign in"}</button>
  </form>`;
}

export function Login() {
  const who = useSession();
  useEffect(() => {
    document.title = "Sign in · Fleetgate";
  }, []);
  return html`<main class="login">
    <div>
      <svg viewBox="0 0 18 18" aria-hidden="true"><path d="M2 16V7a7 7 0 0 1 14 0v9M6 16V7.5a3 3 0 0 1 6 0V16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" /></svg>
      <h1 id="title" tabindex="-1">Fleetgate</h1>
      ${who.token_set
        ? html`<p>Sign in with the value of <code>FLEETGATE_ADMIN_TOKEN</code>.</p><${LoginForm} />`
        : html`<p>Nobody can sign in from here yet. Set <code>FLEETGATE_ADMIN_TOKEN</code> where the server runs and start it again, or open this
            page on that machine.</p>`}
    </div>
  </main>`;
}
