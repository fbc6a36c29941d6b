// The one stream of server-sent events, shared by all pages. It comes back by itself: after an error with growing pauses, after the
// browser slept (the clock jumped, or the page was hidden for long) at once, and then every page reads again.
import { useEffect, useState } from "./ui.js";
import { session } from "./session.js";

const EVENTS = ["hello", "fleet", "exchanges", "kill", "approvals", "config", "resync", "end"];
const TICK_MS = 5000;
const SLEPT_MS = 60_000;
const LONGEST_MS = 30_000;

const listeners = new Map();
const watchers = new Set();
let source = null;
let status = "connecting";
let pause = 1000;
let timer = 0;
let wanted = false;
let skew = 0;
let seen = Date.now();
let hiddenAt = 0;
let lost = false;

export function listen(name, handler) {
  if (!listeners.has(name)) listeners.set(name, new Set());
  listeners.get(name).add(handler);
  return () => listeners.get(name).delete(handler);
}

function tell(name, data) {
  listeners.get(name)?.forEach((handler) => handler(data));
}

function setStatus(next) {
  status = next;
  watchers.forEach((watch) => watch(next));
}

function connect() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource("/api/v1/events");
  for (const name of EVENTS) source.addEventListener(name, (event) => receive(name, event));
  source.onerror = failed;
}

function receive(name, event) {
  const data = JSON.parse(event.data);
  if (data.now) setSkew(data.now - Date.now() / 1000);
  if (name === "hello") {
    pause = 1000;
    setStatus("live");
    if (lost) tell("resync", { why: "reconnected" });
    lost = false;
  }
  if (name === "end") {
    stop();
    setStatus("lost");
    session.check().then((answered) => {
      if (!answered || session.value.reads) again();
    });
  }
  tell(name, data);
}

// The server's clock counts. Where it is seconds away from ours, what stands on the page already is said anew.
function setSkew(next) {
  const moved = Math.abs(next - skew) > 2;
  skew = next;
  if (moved) tell("tick", null);
}

function failed() {
  lost = true;
  if (!wanted) return;
  setStatus("lost");
  if (source?.readyState === EventSource.CLOSED) again();
}

function again() {
  wanted = true;
  clearTimeout(timer);
  timer = setTimeout(async () => {
    await session.check();
    if (session.value.reads && wanted) connect();
    else if (wanted) again();
  }, pause);
  pause = Math.min(LONGEST_MS, pause * 2);
}

// A question got no answer, so the stream may be dead too without anybody having said so: begin anew.
export function doubt() {
  if (!wanted || status !== "live") return;
  lost = true;
  source?.close();
  setStatus("lost");
  again();
}

export function start() {
  if (wanted) return;
  wanted = true;
  connect();
}

export function stop() {
  wanted = false;
  clearTimeout(timer);
  source?.close();
  source = null;
}

function woke() {
  if (!wanted) return;
  lost = true;
  pause = 1000;
  connect();
}

setInterval(() => {
  const slept = Date.now() - seen > TICK_MS + SLEPT_MS;
  seen = Date.now();
  if (slept && !document.hidden) woke();
  tell("tick", null);
}, TICK_MS);

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = Date.now();
  else if (hiddenAt && Date.now() - hiddenAt > SLEPT_MS) woke();
});

export const serverNow = () => Date.now() / 1000 + skew;

export function useLive(name, handler, inputs = []) {
  useEffect(() => listen(name, handler), inputs);
}

export function useStatus() {
  const [value, setValue] = useState(status);
  useEffect(() => {
    watchers.add(setValue);
    setValue(status);
    return () => watchers.delete(setValue);
  }, []);
  return value;
}

// The server's time, a few seconds coarse: for "3 min ago".
export function useNow() {
  const [now, setNow] = useState(serverNow);
  useEffect(() => listen("tick", () => setNow(serverNow())), []);
  return now;
}
