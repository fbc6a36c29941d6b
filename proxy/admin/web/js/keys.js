// Keys: / search, j and k along rows, g and a letter to a page, t light or dark, ? help. Nothing while somebody types.
import { useEffect } from "./ui.js";
import { PAGES } from "./pages.js";
import { href } from "./route.js";
import { flipTheme } from "./themes.js";

const GO_MS = 1500;

function typing(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") !== null;
}

function move(step) {
  const rows = [...document.querySelectorAll("[data-row]")].map((row) => row.querySelector("a, button")).filter(Boolean);
  if (!rows.length) return;
  const row = document.activeElement?.closest("[data-row]");
  const here = rows.findIndex((link) => row?.contains(link));
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

export function useKeys({ help }) {
  useEffect(() => {
    let going = 0;
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (typing(event.target)) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const go = Date.now() - going < GO_MS;
      going = 0;
      if (go) {
        const page = Object.entries(PAGES).find(([, p]) => p.key === event.key);
        if (page) location.hash = href([page[0]]);
      } else if (event.key === "g") going = Date.now();
      else if (event.key === "/") document.querySelector("[data-search]")?.focus();
      else if (event.key === "j") move(1);
      else if (event.key === "k") move(-1);
      else if (event.key === "t") flipTheme();
      else if (event.key === "?") help();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
