// Switching between light, dark and what the system prefers.
import { useEffect, useState } from "./ui.js";

const watchers = new Set();
const root = document.documentElement;

export const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);

export function flipTheme() {
  const next = isDark() ? "light" : "dark";
  root.dataset.theme = next;
  try {
    localStorage.setItem("fleetgate-theme", next);
  } catch {
    // It then holds until the page is left.
  }
  watchers.forEach((watch) => watch(next === "dark"));
}

// Whoever has chosen nothing goes with the system, also when that changes.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => watchers.forEach((watch) => watch(isDark())));

export function useDark() {
  const [dark, setDark] = useState(isDark);
  useEffect(() => {
    watchers.add(setDark);
    return () => watchers.delete(setDark);
  }, []);
  return dark;
}
