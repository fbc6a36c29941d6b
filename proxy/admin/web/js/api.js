// Asking the admin API, and keeping what it answered: the last good answer stays on the page while the next is awaited.
import { useEffect, useRef, useState, useCallback } from "./ui.js";
import { doubt, listen } from "./live.js";
import { session } from "./session.js";

const PATIENCE_MS = 15_000;
const LONGEST = 7000; // characters of an address that a server takes
const LEAST_MS = 1000; // between two reads that events ask for

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function url(path, params = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "") query.set(key, value);
  }
  const text = query.toString();
  return `/api/v1/${path}${text ? `?${text}` : ""}`;
}

export async function get(path, params, signal) {
  return ask(url(path, params), { signal });
}

export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  if (session.value.csrf) headers["x-fleetgate-csrf"] = session.value.csrf;
  return ask(url(path), { method: "POST", headers, body: JSON.stringify(body) });
}

async function ask(address, options) {
  if (address.length > LONGEST) throw new ApiError("This name is too long to be asked for. The command line and the ledger show it.", 414);
  const late = AbortSignal.timeout(PATIENCE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, late]) : late;
  let reply;
  try {
    reply = await fetch(address, { ...options, signal, credentials: "same-origin", redirect: "error" });
  } catch (e) {
    if (options.signal?.aborted) throw e;
    doubt();
    throw new ApiError(late.aborted ? "The server took too long to answer." : "The server does not answer. Is it running?", 0);
  }
  const body = await reply.json().catch(() => null);
  if (reply.ok && body !== null) return body;
  if (reply.status === 401 && !address.endsWith("/login")) session.check();
  throw new ApiError(body?.error ?? `The server answered ${reply.status}.`, reply.status);
}

// Returns {data, error, busy, reload, patch}. `on` names the live events that make it read again; `hold()` may put that off.
export function useApi(path, params = {}, { on = [], every = 0, hold } = {}) {
  const address = path === null ? null : url(path, params);
  const [state, setState] = useState({ of: null, path: null, data: undefined, error: null, busy: true });
  const current = useRef({ abort: null, timer: 0, last: 0 });
  const holding = useRef(hold);
  holding.current = hold;

  const load = useCallback(async () => {
    if (address === null) return;
    const mine = current.current;
    mine.abort?.abort();
    const abort = (mine.abort = new AbortController());
    mine.last = Date.now();
    try {
      const data = await ask(address, { signal: abort.signal });
      setState({ of: address, path, data, error: null, busy: false });
    } catch (error) {
      if (!abort.signal.aborted) setState((old) => ({ ...old, of: address, error, busy: false }));
    }
  }, [address]);

  const soon = useCallback(() => {
    const mine = current.current;
    if (mine.timer) return;
    const wait = Math.max(100, mine.last + LEAST_MS - Date.now());
    mine.timer = setTimeout(() => {
      mine.timer = 0;
      if (document.hidden || holding.current?.()) soon();
      else load();
    }, document.hidden ? Math.max(wait, 2000) : wait);
  }, [load]);

  useEffect(() => {
    setState((old) => (old.path === path ? { ...old, busy: true } : { of: null, path, data: undefined, error: null, busy: true }));
    load();
    const ends = [...on, "resync"].map((name) => listen(name, soon));
    const timer = every ? setInterval(soon, every) : 0;
    return () => {
      ends.forEach((end) => end());
      clearInterval(timer);
      clearTimeout(current.current.timer);
      current.current.timer = 0;
      current.current.abort?.abort();
    };
  }, [address]);

  const patch = useCallback((change) => setState((old) => (old.data === undefined ? old : { ...old, data: change(old.data) })), []);
  const fresh = state.path === path || path === null;
  return { data: fresh ? state.data : undefined, error: fresh ? state.error : null, busy: state.busy, reload: load, patch };
}

// Money comes as decimal text.
export const num = (text) => (text === null || text === undefined || text === "" ? null : Number(text));
