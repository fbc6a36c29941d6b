// A run's delegation tree as a graph: the root at the left, each agent that was asked beside who asked it.
import { html } from "../ui.js";
import { plain, short, usd, plural } from "../format.js";
import { num } from "../api.js";
import { sessionHref } from "../route.js";

const WIDE = 196;
const HIGH = 58;
const ACROSS = 56;
const DOWN = 16;

// Return places of nodes: columns by depth, leaves one below another, parents in the middle of their children. Pure.
export function layout(nodes) {
  const children = new Map(nodes.map((n) => [n.id, []]));
  const roots = [];
  for (const node of nodes) (node.parent && node.parent !== node.id && children.has(node.parent) ? children.get(node.parent) : roots).push(node);
  const places = new Map();
  let row = 0;
  const place = (node, depth) => {
    if (places.has(node.id)) return;
    places.set(node.id, { depth, row: 0, node });
    const below = children.get(node.id).filter((child) => !places.has(child.id));
    below.forEach((child) => place(child, depth + 1));
    const rows = below.map((child) => places.get(child.id).row);
    places.get(node.id).row = rows.length ? (rows[0] + rows[rows.length - 1]) / 2 : row++;
  };
  roots.forEach((root) => place(root, 0));
  nodes.forEach((node) => place(node, 0)); // what only a ring holds
  return { places: [...places.values()], rows: Math.max(1, row), depth: Math.max(0, ...[...places.values()].map((p) => p.depth)) };
}

export function Graph({ nodes, edges, current }) {
  const { places, rows, depth } = layout(nodes);
  const at = new Map(places.map((p) => [p.node.id, { x: 1 + p.depth * (WIDE + ACROSS), y: 1 + p.row * (HIGH + DOWN) }]));
  const width = (depth + 1) * WIDE + depth * ACROSS + 2;
  const height = rows * (HIGH + DOWN) - DOWN + 2;
  return html`<div class="graph" role="region" aria-label="Delegation graph" tabindex="0">
    <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="group" aria-label=${plural(nodes.length, "session")}>
      ${edges.filter((e) => at.has(e.from) && at.has(e.to)).map((e) => html`<path class="edge" d=${curve(at.get(e.from), at.get(e.to))} />`)}
      ${places.map(({ node }) => html`<${Node} node=${node} at=${at.get(node.id)} current=${node.id === current} />`)}
    </svg>
  </div>`;
}

function curve(from, to) {
  const [x0, y0, x1, y1] = [from.x + WIDE, from.y + HIGH / 2, to.x, to.y + HIGH / 2];
  const middle = (x0 + x1) / 2;
  return `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
}

function Node({ node, at, current }) {
  const cost = usd(num(node.usd));
  const trouble = node.refused ? plural(node.refused, "refusal") : node.loop ? "loop" : "";
  const told = `${plain(node.agent, 60)}, ${plural(node.calls, "call")}, ${short(node.tokens)} tokens, ${cost}${trouble ? `, ${trouble}` : ""}`;
  return html`<a href=${sessionHref(node.id)} aria-current=${current ? "true" : undefined} class=${`node ${trouble ? "trouble" : ""}`}>
    <title>${told}</title>
    <rect x=${at.x} y=${at.y} width=${WIDE} height=${HIGH} rx="6" />
    <text class="node-name" x=${at.x + 12} y=${at.y + 23}>${plain(node.agent, 22)}</text>
    <text class="node-more" x=${at.x + 12} y=${at.y + 42}>${plural(node.calls, "call")}${trouble ? ` · ${trouble}` : ""}</text>
    <text class="node-more" x=${at.x + WIDE - 12} y=${at.y + 42} text-anchor="end">${cost}</text>
  </a>`;
}
