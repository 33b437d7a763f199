// Power and state of charge of a session as an SVG.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 480;
const HEIGHT = 150;
const LEFT = 40;
const RIGHT = 36;
const TOP = 8;
const BOTTOM = 22;

function element(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function roundUp(value) {
  const steps = [10, 20, 50, 100, 150, 200, 300, 400];
  return steps.find((step) => step >= value) ?? Math.ceil(value / 100) * 100;
}

// points: [[at_ms, power_w, soc_percent], …]
export function drawCurve(points, title) {
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", role: "img" });
  svg.append(element("title", {}, title));
  if (points.length < 2) return svg;
  const first = points[0][0];
  const span = Math.max(points.at(-1)[0] - first, 1000);
  const top = roundUp(Math.max(...points.map((point) => point[1])) / 1000);
  const x = (at) => LEFT + ((at - first) / span) * (WIDTH - LEFT - RIGHT);
  const y = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  for (const share of [0, 0.5, 1]) {
    svg.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(share), y2: y(share), class: "grid" }));
    svg.append(element("text", { x: LEFT - 6, y: y(share) + 4, class: "axis power", "text-anchor": "end" }, `${top * share}`));
    svg.append(element("text", { x: WIDTH - RIGHT + 6, y: y(share) + 4, class: "axis soc" }, `${100 * share}`));
  }
  const minutes = span / 60000;
  const end = minutes < 2 ? `${Math.round(span / 1000)} s` : `${Math.round(minutes)} min`;
  svg.append(element("text", { x: LEFT, y: HEIGHT - 6, class: "axis" }, "0"));
  svg.append(element("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, class: "axis", "text-anchor": "end" }, end));
  const line = (list) => list.map(([at, share], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(share).toFixed(1)}`).join("");
  const power = points.map((point) => [point[0], point[1] / 1000 / top]);
  svg.append(element("path", { d: `${line(power)}L${x(points.at(-1)[0]).toFixed(1)} ${y(0)}L${LEFT} ${y(0)}Z`, class: "area" }));
  svg.append(element("path", { d: line(power), class: "power" }));
  const soc = points.filter((point) => point[2] !== null).map((point) => [point[0], point[2] / 100]);
  if (soc.length > 1) svg.append(element("path", { d: line(soc), class: "soc" }));
  return svg;
}
