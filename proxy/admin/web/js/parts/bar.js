// A budget's bar: spent, held behind it, the forecast as a tick; words above it say the same.
import { html } from "../ui.js";
import { amount, plain, used } from "../format.js";

export function Bar({ spent = 0, held = 0, limit, forecast, label }) {
  const part = (n) => (limit > 0 ? Math.min(1, Math.max(0, n / limit)) * 100 : n > 0 ? 100 : 0);
  const share = limit > 0 ? (spent + held) / limit : 0;
  const tone = share >= 1 ? "over" : share >= 0.8 ? "near" : "";
  const ahead = forecast === undefined || forecast === null ? null : part(forecast);
  return html`<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=${label ?? used(share)}>
    <rect class="rail" width="100" height="6" rx="1.5" />
    <rect class=${`held ${tone}`} width=${part(spent + held)} height="6" rx="1.5" />
    <rect class=${`spent ${tone}`} width=${part(spent)} height="6" rx="1.5" />
    ${ahead !== null && ahead > part(spent) ? html`<line class="tick" x1=${ahead} x2=${ahead} y1="-1" y2="7" vector-effect="non-scaling-stroke" />` : null}
  </svg>`;
}

export function Barred({ name, spent, held, limit, unit, forecast, note }) {
  const share = limit > 0 ? (spent + held) / limit : 0;
  const ahead = forecast === undefined || forecast === null ? "" : `, forecast ${amount(forecast, unit)}`;
  const label = `${plain(name, 80)}: ${amount(spent, unit)} of ${amount(limit, unit)} ${unit === "usd" ? "" : unit}, ${used(share)}${ahead}`;
  return html`<span class="barred" title=${label}>
    <span><span>${plain(name, 40)}</span><span>${note ? `${note} · ` : ""}${used(share)}</span></span>
    <${Bar} spent=${spent} held=${held} limit=${limit} forecast=${forecast} label=${label} />
  </span>`;
}
