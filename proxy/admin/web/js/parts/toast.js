// One line at the foot of the window that says what was done; a screen reader hears it too.
import { html, useEffect, useState } from "../ui.js";

const watchers = new Set();

export function say(text) {
  watchers.forEach((watch) => watch(text));
}

export function Toast() {
  const [text, setText] = useState("");
  useEffect(() => {
    watchers.add(setText);
    return () => watchers.delete(setText);
  }, []);
  useEffect(() => {
    if (!text) return undefined;
    const timer = setTimeout(() => setText(""), 5000);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<div class="toast" role="status">${text}</div>`;
}
