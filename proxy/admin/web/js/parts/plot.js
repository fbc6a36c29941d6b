// Plots over time, drawn as SVG at the width that there is. Pointer and arrow keys move a cross; its values stand in words beside it.
import { html, useLayoutEffect, useRef, useState } from "../ui.js";
import { dayOf, hourOf, exactly } from "../format.js";

const LEFT = 52;
const RIGHT = 12;
const TOP = 14;
const BOTTOM = 24;

export function useWidth(first = 640) {
  const box = useRef(null);
  const [width, setWidth] = useState(first);
  useLayoutEffect(() => {
    const set = () => setWidth(Math.max(240, Math.round(box.current.clientWidth)));
    set();
    const watch = new ResizeObserver(set);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  return [box, width];
}

export function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 3, 4, 5, 6, 8, 10].find((m) => m * power >= value * 1.02);
  return (step ?? 10) * power;
}

// An axis needs no zeros behind the point: 1.50 s is 1.5 s, $2.00 is $2; cents keep both.
function tidy(text) {
  return text.startsWith("$") ? text.replace(/\.0+$/, "") : text.replace(/(\.\d*?)0+(?= |$)/, "$1").replace(/\.(?= |$)/, "");
}

const STEPS = [300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400];

function timeTicks(from, to, most) {
  const step = STEPS.find((s) => (to - from) / s <= most) ?? (to - from) / most;
  const shift = step < 86_400 * 2 ? -new Date(from * 1000).getTimezoneOffset() * 60 : 0;
  const ticks = [];
  for (let t = Math.ceil((from + shift) / step) * step - shift; t <= to; t += step) ticks.push(t);
  return { ticks, name: step >= 86_400 ? dayOf : hourOf };
}

// series: [{name, points: [[t, value or null]], shape: "line" | "area" | "ahead" | "column", tone}]; times in seconds.
export function Plot({ series, label, format, limit, limitName = "limit", height = 208, from, to, now, empty, top }) {
  const [box, width] = useWidth();
  const [at, setAt] = useState(null);
  const drawn = series.map((s) => ({ ...s, points: s.points.filter(([, v]) => v !== null && Number.isFinite(v)) }));
  const all = drawn.flatMap((s) => s.points);
  if (!all.length) return html`<div ref=${box} class="plot"><div class="plot-none" style=${{ height: `${height}px` }}>${empty}</div></div>`;

  const t0 = from ?? Math.min(...all.map(([t]) => t));
  const t1 = Math.max(to ?? Math.max(...all.map(([t]) => t)), t0 + 1);
  const highest = top ?? niceTop(Math.max(...all.map(([, v]) => v), limit ?? 0));
  const inset = drawn[0].shape === "column" ? (width - LEFT - RIGHT) / (2 * drawn[0].points.length) : 0;
  const x = (t) => LEFT + inset + ((t - t0) / (t1 - t0)) * (width - LEFT - RIGHT - 2 * inset);
  const y = (v) => TOP + (1 - v / highest) * (height - TOP - BOTTOM);
  const { ticks, name } = timeTicks(t0, t1, Math.max(2, Math.floor(width / 110)));
  const times = drawn[0].points.map(([t]) => t);

  const near = (px) => {
    const t = t0 + ((px - LEFT - inset) / (width - LEFT - RIGHT - 2 * inset)) * (t1 - t0);
    setAt(times.reduce((best, other, i) => (Math.abs(other - t) < Math.abs(times[best] - t) ? i : best), 0));
  };
  const keys = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt(Math.min(times.length - 1, Math.max(0, (at ?? times.length) + step)));
    } else if (event.key === "Escape") setAt(null);
  };
  const scene = { x, y, width, height, t0, t1, highest };
  return html`<div class="plot" ref=${box}>
    <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${label} tabindex="0"
      onPointerMove=${(e) => near(e.offsetX)} onPointerLeave=${() => setAt(null)} onKeyDown=${keys} onBlur=${() => setAt(null)}>
      ${[0, 0.5, 1].map((part) => html`<g>
        <line class="grid" x1=${LEFT} x2=${width - RIGHT} y1=${y(highest * part)} y2=${y(highest * part)} />
        <text class="axis" x=${LEFT - 8} y=${y(highest * part) + 4} text-anchor="end">${part ? tidy(format(highest * part)) : "0"}</text>
      </g>`)}
      ${ticks.map((t) => html`<text class="axis" x=${x(t)} y=${height - 6} text-anchor=${x(t) > width - 30 ? "end" : x(t) < LEFT + 12 ? "start" : "middle"}>${name(t)}</text>`)}
      ${now > t0 && now < t1 ? html`<line class="now" x1=${x(now)} x2=${x(now)} y1=${TOP} y2=${height - BOTTOM} />` : null}
      ${drawn.map((s) => html`<${Shape} series=${s} scene=${scene} />`)}
      ${limit && limit <= highest ? html`<g><line class="limit" x1=${LEFT} x2=${width - RIGHT} y1=${y(limit)} y2=${y(limit)} />
        <text class="limit-word" x=${width - RIGHT} y=${y(limit) - 5} text-anchor="end">${`${limitName} ${format(limit)}`}</text></g>` : null}
      ${at !== null && times[at] !== undefined ? html`<${Cross} t=${times[at]} series=${drawn} scene=${scene} />` : null}
    </svg>
    ${at !== null && times[at] !== undefined ? html`<${Tip} t=${times[at]} series=${drawn} scene=${scene} format=${format} />` : null}
  </div>`;
}

function Shape({ series: { points, shape = "line", tone = "" }, scene: { x, y, width } }) {
  if (!points.length) return null;
  const path = points.map(([t, v], i) => `${i ? "L" : "M"}${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  if (shape === "column") {
    const gap = points.length > 1 ? Math.abs(x(points[1][0]) - x(points[0][0])) : 16;
    const wide = Math.max(1, Math.min(22, gap * 0.62, width / 6));
    return html`<g>${points.map(([t, v]) => v > 0 && html`<rect class=${`column ${tone}`} x=${x(t) - wide / 2} width=${wide} y=${y(v)} height=${Math.max(0.5, y(0) - y(v))} rx="1" />`)}</g>`;
  }
  const last = points[points.length - 1];
  const alone = points.length === 1 ? html`<circle class="spot" cx=${x(last[0])} cy=${y(last[1])} r="3" />` : null;
  const under = shape === "area" ? html`<path class="area" d=${`${path}L${x(last[0]).toFixed(1)} ${y(0)}L${x(points[0][0]).toFixed(1)} ${y(0)}Z`} />` : null;
  return html`<g>${under}<path class=${`line ${tone} ${shape === "ahead" ? "ahead" : ""}`} d=${path} />${alone}</g>`;
}

const valueAt = (points, t) => points.find((p) => p[0] === t)?.[1];

function Cross({ t, series, scene: { x, y, height } }) {
  return html`<g><line class="cross" x1=${x(t)} x2=${x(t)} y1=${TOP} y2=${height - BOTTOM} />
    ${series.filter((s) => s.shape !== "column" && valueAt(s.points, t) !== undefined).map((s) => html`<circle class="spot" cx=${x(t)} cy=${y(valueAt(s.points, t))} r="3.5" />`)}
  </g>`;
}

function Tip({ t, series, scene: { x, width }, format }) {
  const right = x(t) > width / 2;
  const style = right ? { right: `${width - x(t) + 10}px` } : { left: `${x(t) + 10}px` };
  return html`<div class="tip" style=${style} role="status"><small>${exactly(t)}</small>
    ${series.filter((s) => valueAt(s.points, t) !== undefined).map((s) => html`<div>${s.name}: ${format(valueAt(s.points, t))}</div>`)}
  </div>`;
}

export function Legend({ entries }) {
  return html`<div class="legend">${entries.map(([name, tone, shape]) => html`<span>
    <svg viewBox="0 0 20 8" aria-hidden="true" class="plot"><path class=${`line ${tone} ${shape ?? ""}`} d="M0 4H20" /></svg>${name}
  </span>`)}</div>`;
}

export function Spark({ values, label }) {
  if (!values?.some((v) => v > 0)) return html`<svg class="spark" aria-hidden="true"></svg>`;
  const highest = Math.max(1, ...values);
  const step = values.length > 1 ? 88 / (values.length - 1) : 0;
  const path = values.map((v, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${(18 - (v / highest) * 16).toFixed(1)}`).join("");
  return html`<svg class="spark" viewBox="0 0 88 20" preserveAspectRatio="none" role="img" aria-label=${label}><path d=${path} /></svg>`;
}
