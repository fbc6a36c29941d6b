// Who the reader is, as the server says, and signing in and out. The token itself is never kept here.
import { useEffect, useState } from "./ui.js";

const UNKNOWN = { known: false, reads: false, changes: false, how: "none", csrf: "", token_set: true, version: "" };
const watchers = new Set();

export const session = {
  value: UNKNOWN,
  set(value) {
    session.value = { ...UNKNOWN, ...value, known: true };
    watchers.forEach((watch) => watch(session.value));
  },
  // Ask the server; without an answer nothing changes, so that a server that restarts signs nobody out.
  async check() {
    try {
      const early = globalThis.fleetgateSession; // begin.js has asked already
      globalThis.fleetgateSession = null;
      const reply = (await early) ?? (await fetch("/api/v1/session", { credentials: "same-origin" }));
      if (reply.ok) session.set(await reply.json());
      return reply.ok;
    } catch {
      return false;
    }
  },
};

export function useSession() {
  const [value, setValue] = useState(session.value);
  useEffect(() => {
    watchers.add(setValue);
    setValue(session.value);
    return () => watchers.delete(setValue);
  }, []);
  return value;
}

export async function signIn(token) {
  const reply = await fetch("/api/v1/login", {
    method: "POST",
    credentials: "same-origin",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) {
    const wait = reply.headers.get("retry-after");
    throw new Error(reply.status === 401 ? "That is not the token." : `${body.error ?? "The server refused."}${wait ? ` Try again in ${wait} s.` : ""}`);
  }
  session.set(body);
}

export async function signOut() {
  await fetch("/api/v1/logout", {
    method: "POST",
    credentials: "same-origin",
    headers: { "content-type": "application/json", "x-fleetgate-csrf": session.value.csrf },
    body: "{}",
  });
  await session.check();
}
