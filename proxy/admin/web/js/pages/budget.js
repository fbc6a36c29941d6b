// One budget: how it burns down, whether it lasts, and who spends it.
import { html } from "../ui.js";
import { useApi, num } from "../api.js";
import { useNow, serverNow } from "../live.js";
import { href } from "../route.js";
import { amount, count, exactly, percent, plain, span, used, words } from "../format.js";
import { Table } from "../parts/table.js";
import { Plot, Legend } from "../parts/plot.js";
import { Head, Figure, Failed, Empty, Section } from "../parts/states.js";
import { Name, Where } from "../parts/marks.js";
import { Forecast, budgetName } from "../parts/lists.js";

// Return what is left at each point, and the line that goes on as it went: until it is empty or the window ends. Pure.
export function burnDown(data, now) {
  const b = data.budget;
  if (!b || !data.points.length) return { left: [], ahead: [] };
  const limit = num(b.limit);
  const left = data.points.map((p) => [p.t, Math.max(0, limit - num(p.spent))]);
  if (left[0][1] < limit) left.unshift([left[0][0] - data.step, limit]);
  const remaining = num(b.remaining);
  left.push([Math.max(now, left[left.length - 1][0] + 1), Math.max(0, remaining)]);
  if (b.exhausted_in === null || b.exhausted_in === undefined || remaining <= 0) return { left, ahead: [] };
  const end = Math.min(now + b.exhausted_in, b.resets_at ?? Infinity);
  const there = remaining * (1 - (end - now) / b.exhausted_in);
  return { left, ahead: [[now, remaining], [end, Math.max(0, there)]] };
}

export function Budget({ path }) {
  const counter = path.slice(1).join("/");
  useNow();
  const now = serverNow();
  const { data, error, reload } = useApi("burn", { counter }, { every: 5000 });
  const b = data?.budget;
  return html`
    <${Head} title=${html`<${Name} most=${80}>${budgetName(b ?? { name: counter.split("|")[0] })[0]}<//>`} crumb=${html`<a href=${href(["budgets"])}>Budgets</a>`}>
      ${b ? html`<${Name} most=${80}>${budgetName(b)[1]}<//>, per ${words(b.window)} · <${Where} at=${b.source} />` : ""}
    <//>
    <${Failed} error=${error} retry=${reload} kept=${data} />
    ${error && !data ? null : html`
      <${Figures} b=${b} unit=${data?.unit} now=${now} />
      <${Burn} data=${data} now=${now} />
      <${Spenders} data=${data} />`}`;
}

function Figures({ b, unit, now }) {
  const as = (text) => b && amount(num(text), unit);
  return html`<dl class="figures">
    <${Figure} name="Left" value=${as(b?.remaining)} note=${b && `of ${amount(num(b.limit), unit)} ${unit === "usd" ? "" : unit === "gco2e" ? "CO₂e" : words(unit)}`} />
    <${Figure} name="Spent" value=${as(b?.spent)} note=${b && `${used(b.used)} with what is held`} />
    <${Figure} name="Held" value=${as(b?.held)} note="by calls under way" />
    <${Figure} name="Forecast" value=${b && html`<${Forecast} budget=${b} />`} note=${b?.resets_at ? `resets in ${span(b.resets_at - now)}` : ""} />
  </dl>`;
}

function Burn({ data, now }) {
  const { left, ahead } = data ? burnDown(data, now) : { left: [], ahead: [] };
  const limit = data?.budget ? num(data.budget.limit) : undefined;
  const last = ahead.length ? ahead[1][0] : now;
  const series = [{ name: "left", points: left, shape: "area" }, ...(ahead.length ? [{ name: "as it goes on", points: ahead, shape: "ahead" }] : [])];
  const empty = data ? (data.budget ? "Nothing was spent of it yet." : "This counter holds no more: its window is over, or its file has changed.") : "";
  return html`<${Section} id="burn" title="Burn-down" aside=${html`<${Legend} entries=${[["left", ""], ...(ahead.length ? [["as it goes on", "", "ahead"]] : [])]} />`}>
    <${Plot} label=${`What is left over time${data?.budget?.resets_at ? `; it resets ${exactly(data.budget.resets_at)}` : ""}`} series=${series} top=${limit || undefined}
      format=${(v) => amount(v, data?.unit)} height=${260} now=${now} to=${Math.max(last, now)} empty=${empty} />
  <//>`;
}

function Spenders({ data }) {
  const others = data?.others;
  const columns = [
    { key: "agent", title: "Agent", width: "40%", cell: (a) => (a.agent === null ? html`<span class="dim">${count(a.n)} others</span>` : html`<a class="name" href=${href(["fleet", a.agent])}><${Name}>${a.agent || "(nobody)"}<//></a>`) },
    { key: "amount", title: "Spent", cls: "num", width: "8rem", cell: (a) => amount(num(a.amount), data.unit) },
    { key: "share", title: "Share", cell: (a) => html`<span class="share"><svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect width=${Math.max(0.4, (a.share ?? 0) * 100)} height="6" rx="1" /></svg><span>${percent(a.share, 1)}</span></span>` },
  ];
  const sum = data ? data.agents.reduce((all, a) => all + num(a.amount), 0) + (num(others?.amount) ?? 0) : 0;
  const rows = data && [...data.agents, ...(others?.agents ? [{ agent: null, n: others.agents, amount: others.amount, share: sum ? num(others.amount) / sum : 0 }] : [])];
  return html`<${Section} id="who" title="Who spends it">
    ${rows && !rows.length ? html`<${Empty} title="Nobody yet">The first call that it covers appears here.<//>`
      : html`<${Table} label="Who spends it" columns=${columns} rows=${rows} bones=${5} id=${(a) => plain(a.agent ?? "(others)", 400)} />`}
  <//>`;
}
