// A table of one page of rows. Sorting, filtering and paging are the server's: 10,000 agents never reach the browser at once.
import { html, useEffect, useRef } from "../ui.js";
import { count } from "../format.js";
import { Bone } from "./states.js";

// columns: {key, title, label?, cls?, width?, sort?: first direction, cell(row)}. rows: undefined while the first page is awaited.
export function Table({ label, columns, rows, id, sort, onSort, busy, bones = 10, current }) {
  return html`<div class="scroll">
    <table class=${`table ${busy ? "busy" : ""}`} aria-busy=${rows === undefined || busy ? "true" : "false"}>
      <caption class="hush">${label}</caption>
      <colgroup>${columns.map((c) => html`<col class=${c.cls?.replace("num", "")} style=${c.width ? { width: c.width } : undefined} />`)}</colgroup>
      <thead><tr>${columns.map((c) => html`<${Header} column=${c} sort=${sort} onSort=${onSort} />`)}</tr></thead>
      <tbody>
        ${rows === undefined ? skeleton(columns, bones) : rows.map((row) => line(columns, row, id(row), current))}
      </tbody>
    </table>
  </div>`;
}

function line(columns, row, key, current) {
  return html`<tr key=${key} data-row aria-current=${current === key ? "true" : undefined}>
    ${columns.map((c) => html`<td class=${c.cls}>${c.cell(row)}</td>`)}
  </tr>`;
}

function skeleton(columns, bones) {
  return Array.from({ length: bones }, (_, i) => html`<tr key=${`bone-${i}`}>
    ${columns.map((c, j) => html`<td class=${c.cls}><${Bone} width=${`${j ? 45 : 50 + ((i * 17) % 35)}%`} /></td>`)}
  </tr>`);
}

function Header({ column: c, sort, onSort }) {
  if (!c.sort || !onSort) return html`<th scope="col" class=${c.cls}>${c.title || html`<span class="hush">${c.label}</span>`}</th>`;
  const here = sort?.key === c.key;
  const down = here ? sort.down : undefined;
  const flip = () => onSort({ key: c.key, down: here ? !down : c.sort === "down" });
  return html`<th scope="col" class=${c.cls} aria-sort=${here ? (down ? "descending" : "ascending") : undefined}>
    <button type="button" onClick=${flip}>${c.title}<span class="way" aria-hidden="true">${here ? (down ? "↓" : "↑") : ""}</span></button>
  </th>`;
}

export function Pager({ offset, size, total, shown, onOffset, what }) {
  const last = offset + shown;
  const text = total === undefined ? "" : total === 0 ? `No ${what}` : `${count(offset + 1)} to ${count(last)} of ${count(total)} ${what}`;
  return html`<nav class="pager" aria-label=${`Pages of ${what}`}>
    <span role="status">${text}</span>
    <span>
      <button class="button small" type="button" disabled=${offset <= 0} onClick=${() => onOffset(Math.max(0, offset - size))}>Previous</button>
      <button class="button small" type="button" disabled=${total === undefined || last >= total} onClick=${() => onOffset(offset + size)}>Next</button>
    </span>
  </nav>`;
}

// A page of newest-first records: there is no total, only whether there is more.
export function More({ first, more, shown, onFirst, onMore, what }) {
  return html`<nav class="pager" aria-label=${`Pages of ${what}`}>
    <span role="status">${shown === undefined ? "" : `${count(shown)} ${what} shown, newest first`}</span>
    <span>
      <button class="button small" type="button" disabled=${first} onClick=${onFirst}>Newest</button>
      <button class="button small" type="button" disabled=${!more} onClick=${onMore}>Older</button>
    </span>
  </nav>`;
}

export function Search({ value, onInput, label, placeholder }) {
  const field = useRef(null);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (field.current && field.current !== document.activeElement) field.current.value = value;
  }, [value]);
  const later = (event) => {
    const text = event.currentTarget.value;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onInput(text), 200);
  };
  return html`<div class="search">
    <input ref=${field} class="input" type="search" data-search aria-label=${label} placeholder=${placeholder ?? label}
      defaultValue=${value} onInput=${later} maxlength="200" autocomplete="off" spellcheck=${false} />
    <kbd aria-hidden="true">/</kbd>
  </div>`;
}

export function Segments({ label, options, value, onPick }) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(([key, word]) => html`<button type="button" aria-pressed=${value === key ? "true" : "false"} onClick=${() => onPick(key)}>${word}</button>`)}
  </div>`;
}
