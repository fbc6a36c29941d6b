// Dialogs: the browser's own, so that focus stays inside, Escape closes, and it returns to where it was.
import { html, useEffect, useRef, useState, useId } from "../ui.js";

export function Dialog({ title, onClose, children }) {
  const box = useRef(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => before?.focus?.();
  }, []);
  const outside = (event) => event.target === box.current && onClose();
  return html`<dialog ref=${box} aria-labelledby=${id} onClose=${onClose} onClick=${outside}>
    <div class="dialog"><h2 id=${id}>${title}</h2>${children}</div>
  </dialog>`;
}

// A form in a dialog: `act` does it and may fail; then the words stay and say why.
export function Ask({ title, verb, danger, onClose, act, ready = true, children }) {
  const [state, setState] = useState({ busy: false, error: "" });
  const submit = async (event) => {
    event.preventDefault();
    if (!ready || state.busy) return;
    setState({ busy: true, error: "" });
    try {
      await act();
      onClose();
    } catch (e) {
      setState({ busy: false, error: e.message });
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form class="dialog-form" onSubmit=${submit} autocomplete="off">
      ${children}
      ${state.error ? html`<div class="failed" role="alert"><span>${state.error}</span></div>` : null}
      <div class="acts">
        <button class="button" type="button" onClick=${onClose}>Cancel</button>
        <button class=${`button ${danger ? "danger" : "main-act"}`} type="submit" disabled=${!ready || state.busy}>${state.busy ? "Working…" : verb}</button>
      </div>
    </form>
  <//>`;
}

export function Field({ name, hint, children }) {
  return html`<label class="field"><span>${name}</span>${children}${hint ? html`<small>${hint}</small>` : null}</label>`;
}
