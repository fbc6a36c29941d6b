// Every budget: spent, held, left, and whether it lasts.
import { html } from "../ui.js";
import { useApi, num } from "../api.js";
import { useNow } from "../live.js";
import { refine } from "../route.js";
import { plural } from "../format.js";
import { Table, Pager, Search, Segments } from "../parts/table.js";
import { Head, Failed, Empty } from "../parts/states.js";
import { budgetColumns } from "../parts/lists.js";
import { sortOf } from "./fleet.js";

const SIZE = 50;
const SCOPES = [["", "All"], ["shared", "Shared"]];
const UNITS = [["", "any unit"], ["usd", "dollars"], ["tokens", "tokens"], ["requests", "requests"], ["gco2e", "g CO₂e"]];

export function Budgets({ query }) {
  const now = useNow();
  const offset = Math.max(0, Number(query.offset) || 0);
  const sort = query.sort ?? "-used";
  const { data, error, busy, reload } = useApi("budgets", { q: query.q, unit: query.unit, scope: query.scope, sort, limit: SIZE, offset }, { every: 5000 });
  const full = data?.budgets.filter((b) => num(b.remaining) <= 0).length;
  const filtered = query.q || query.unit || query.scope;
  return html`
    <${Head} title="Budgets">${data ? `${plural(data.total, "counter")}${full ? `, ${full} of those below used up` : ""}. Spent and held never exceed a limit.` : ""}<//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    <div class="fields" role="search">
      <${Search} label="Search budgets" value=${query.q ?? ""} onInput=${(q) => refine({ q, offset: undefined })} />
      <${Segments} label="Whose" options=${SCOPES} value=${query.scope ?? ""} onPick=${(scope) => refine({ scope, offset: undefined })} />
      <label class="pick">In <select class="input" value=${query.unit ?? ""} onChange=${(e) => refine({ unit: e.currentTarget.value, offset: undefined })}>
        ${UNITS.map(([key, word]) => html`<option value=${key}>${word}</option>`)}
      </select></label>
    </div>
    ${data && !data.budgets.length
      ? filtered
        ? html`<${Empty} title="No budget fits">Take away a filter, or search for a part of the name.<//>`
        : html`<${Empty} title="No budgets yet">Write who may spend what in <code>budgets/</code>, or below <code>budgets:</code> in an agent's file. They hold within a second.<//>`
      : error && !data ? null : html`
        <${Table} label="Budgets" columns=${budgetColumns(now)} rows=${data?.budgets} id=${(b) => b.counter} busy=${busy}
          sort=${sortOf(sort)} onSort=${(s) => refine({ sort: `${s.down ? "-" : ""}${s.key}`, offset: undefined })} />
        <${Pager} offset=${offset} size=${SIZE} total=${data?.total} shown=${data?.budgets.length ?? 0} what="budgets" onOffset=${(n) => refine({ offset: n || undefined })} />`}`;
}
