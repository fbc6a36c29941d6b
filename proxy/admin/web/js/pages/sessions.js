// Sessions of the fleet, or of one agent.
import { html } from "../ui.js";
import { useApi } from "../api.js";
import { href, refine } from "../route.js";
import { plain, plural } from "../format.js";
import { Table, Pager, Search, Segments } from "../parts/table.js";
import { Head, Failed, Empty } from "../parts/states.js";
import { sessionColumns } from "../parts/lists.js";
import { sortOf } from "./fleet.js";

const SIZE = 50;
const SPANS = [["1h", "Hour"], ["1d", "Day"], ["1w", "Week"]];

export function Sessions({ query }) {
  const offset = Math.max(0, Number(query.offset) || 0);
  const since = query.since ?? "1d";
  const params = { agent: query.agent, q: query.q, since, sort: query.sort ?? "-last", limit: SIZE, offset };
  const { data, error, busy, reload } = useApi("sessions", params, { every: 10_000 });
  return html`
    <${Head} title="Sessions">${data ? `${plural(data.total, "session")} ${query.agent ? `of ${plain(query.agent, 60)}` : ""} with a call in that time${data.more ? ", and older ones: only the last 5,000 calls are counted" : ""}.` : ""}<//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    <div class="fields" role="search">
      <${Search} label="Search sessions" placeholder="Part of a session's name" value=${query.q ?? ""} onInput=${(q) => refine({ q, offset: undefined })} />
      <${Segments} label="Since" options=${SPANS} value=${since} onPick=${(s) => refine({ since: s, offset: undefined })} />
      ${query.agent ? html`<button class="button small" type="button" onClick=${() => refine({ agent: undefined, offset: undefined })}>All agents</button>` : null}
    </div>
    ${data && !data.sessions.length
      ? html`<${Empty} title="No session here">Nothing was asked in that time${query.q ? " under that name" : ""}. Look at a longer time, or at <a href=${href(["fleet"])}>the fleet</a>.<//>`
      : error && !data ? null : html`
        <${Table} label="Sessions" columns=${sessionColumns(query.agent)} rows=${data?.sessions} id=${(s) => `${s.agent}/${s.session}`} busy=${busy}
          sort=${sortOf(query.sort ?? "-last")} onSort=${(s) => refine({ sort: `${s.down ? "-" : ""}${s.key}`, offset: undefined })} />
        <${Pager} offset=${offset} size=${SIZE} total=${data?.total} shown=${data?.sessions.length ?? 0} what="sessions" onOffset=${(n) => refine({ offset: n || undefined })} />`}`;
}
