// Numbers, times and names as people read them. Pure: what is not a number is shown as a dash.
const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const shortClock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

const known = (n) => typeof n === "number" && Number.isFinite(n);

export const count = (n) => (known(n) ? whole.format(n) : NONE);

// Dollars: two places from ten cents on, else as many as two digits need.
export function usd(n) {
  if (!known(n)) return NONE;
  const size = Math.abs(n);
  const sign = n < 0 ? "−" : "";
  if (size >= 1e6) return `${sign}$${(size / 1e6).toFixed(2)} M`;
  if (size >= 10_000) return `${sign}$${whole.format(size)}`;
  if (size >= 0.1 || size === 0) return `${sign}$${cents.format(size)}`;
  const places = Math.min(8, 1 - Math.floor(Math.log10(size)));
  return `${sign}$${size.toFixed(places)}`;
}

// Large counts in thousands, millions, billions, with three digits.
export function short(n) {
  if (!known(n)) return NONE;
  const size = Math.abs(n);
  const [by, letter] = size >= 1e9 ? [1e9, " B"] : size >= 1e6 ? [1e6, " M"] : size >= 10_000 ? [1e3, " k"] : [1, ""];
  if (by === 1) return whole.format(n);
  const scaled = n / by;
  return `${scaled.toFixed(Math.abs(scaled) >= 100 ? 0 : 1)}${letter}`;
}

export function amount(n, unit) {
  if (unit === "usd") return usd(n);
  if (unit === "gco2e") return `${grams(n)} g`;
  return known(n) ? short(n) : NONE;
}

// Grams, watt-hours: three digits, whatever their size.
export function grams(n) {
  if (!known(n)) return NONE;
  return Math.abs(n) >= 100 ? short(n) : String(Number(n.toPrecision(3)));
}

export const percent = (n, places = 0) => (known(n) ? `${(n * 100).toFixed(places)} %` : NONE);

// A part of a limit: not 100 % before it is all of it.
export const used = (n) => percent(known(n) && n < 1 ? Math.floor(n * 100) / 100 : n);

export function rate(n) {
  if (!known(n)) return NONE;
  return n === 0 ? "0" : n < 10 ? n.toFixed(1) : whole.format(n);
}

export function millis(ms) {
  if (!known(ms)) return NONE;
  if (ms === 0) return "0 ms";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return span(ms / 1000);
}

// A span of seconds in its two largest units.
export function span(seconds, most = 2) {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, Math.round(seconds));
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => s >= size);
  if (first < 0) return "0 s";
  const [size, name] = parts[first];
  const rest = most > 1 ? parts[first + 1] : undefined;
  const left = rest ? Math.floor((s % size) / rest[0]) : 0;
  return `${Math.floor(s / size)} ${name}${left && first < 3 ? ` ${left} ${rest[1]}` : ""}`;
}

// Times come as UTC seconds and are shown in the reader's zone.
export const toDate = (t) => new Date(t * 1000);
export const exactly = (t) => (known(t) ? full.format(toDate(t)) : NONE);
export const clockOf = (t) => (known(t) ? clock.format(toDate(t)) : NONE);
export const hourOf = (t) => (known(t) ? shortClock.format(toDate(t)) : NONE);
export const dayOf = (t) => (known(t) ? day.format(toDate(t)) : NONE);

export function ago(t, now) {
  if (!known(t) || t <= 0) return NONE;
  const s = now - t;
  if (s < -1) return `in ${span(-s)}`;
  if (s < 5) return "now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

// Names are whatever clients send: cut what is long, and show what turns or hides text as visible signs.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const HIDDEN_IN_LINES = /(?![\n\t])[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
export function plain(text, most = 120, lines = false) {
  const shown = String(text ?? "");
  const cut = shown.length > most ? `${shown.slice(0, most).toWellFormed()}…` : shown;
  return cut.replace(lines ? HIDDEN_IN_LINES : HIDDEN, "␣");
}
export const shortId = (id) => plain(id, 16).slice(0, 12);

export const words = (code) => plain(String(code ?? "").replaceAll("_", " "), 60);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
