// Where the reader is: everything behind the #, so that the server sees no name of it and a reload stays on the page.
import { useEffect, useState } from "./ui.js";

// A session is AGENT/NAME everywhere, and its address is made of the two.
export const sessionHref = (session) => {
  const at = session.indexOf("/");
  return href(at < 0 ? ["sessions", session] : ["sessions", session.slice(0, at), session.slice(at + 1)]);
};
export const sessionName = (session) => session.slice(session.indexOf("/") + 1);

export function href(path, query = {}) {
  const kept = Object.entries(query).filter(([, v]) => v !== undefined && v !== null && v !== "" && v !== 0);
  const text = new URLSearchParams(kept).toString();
  return `#/${path.map((part) => encodeURIComponent(part)).join("/")}${text ? `?${text}` : ""}`;
}

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").map(decode).filter(Boolean), query: Object.fromEntries(new URLSearchParams(query)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const moved = () => setRoute(read());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return route;
}

// Change filters of the page without a new entry in the history.
export function refine(changes) {
  const { path, query } = read();
  history.replaceState(null, "", href(path, { ...query, ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}
