// The report's plots: all of them over steps or over training time, with the values under the pointer in their legends.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const COLORS = 8, HIGH = 190;
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]]; // of a run's curves in one plot
const sync = uPlot.sync("report");
const state = { axis: "steps", plots: [] };

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${(value / 1e3).toPrecision(3)}k`;
  return size >= 100 || Number.isInteger(value) ? String(Math.round(value)) : size >= 1e-3 || size === 0 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

function duration(seconds) {
  const s = Math.round(seconds), part = (n) => String(n).padStart(2, "0");
  return s >= 3600 ? `${Math.floor(s / 3600)}:${part(Math.floor(s / 60) % 60)}:${part(s % 60)}` : `${Math.floor(s / 60)}:${part(s % 60)}`;
}

const place = (value) => (state.axis === "time" ? duration(value) : figure(value));

// Curves of several runs have other places: the value shown is that of the nearest place that has one.
function nearest(plot, series, hovered) {
  const values = plot.data[series];
  for (let away = 0; away < values.length; away++) {
    for (const i of [hovered - away, hovered + away]) if (values[i] !== undefined && values[i] !== null) return i;
  }
  return hovered;
}

// One run: a colour a curve. Several: a colour a run, a dash a curve.
function looks(curves) {
  const several = data.runs.length > 1, labels = [...new Set(curves.map((curve) => curve[1]))];
  return curves.map(([run, label], i) => ({
    label: several ? [data.runs[run], label].filter(Boolean).join(", ") : label || "value",
    stroke: style(`run${several ? run : i % COLORS}`),
    dash: DASHES[(several ? labels.indexOf(label) : Math.floor(i / COLORS)) % DASHES.length],
  }));
}

function draw(panel, parent) {
  const curves = panel.curves, x = state.axis === "time" ? 3 : 2;
  const caption = document.createElement("figcaption"), box = document.createElement("figure");
  caption.textContent = panel.title;
  box.append(caption);
  parent.append(box);
  const axis = { stroke: style("dim"), grid: { stroke: style("line"), width: 1 }, ticks: { stroke: style("line"), width: 1 }, font: "11px system-ui, sans-serif" };
  const options = {
    width: box.clientWidth - 26,
    height: HIGH,
    cursor: { sync: { key: sync.key, setSeries: false }, dataIdx: nearest, y: false },
    scales: { x: { time: false }, y: { distr: panel.log ? 3 : 1 } },
    axes: [
      { ...axis, size: 28, values: (_, ticks) => ticks.map(place) },
      { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : figure(tick))) },
    ],
    series: [
      { label: state.axis === "time" ? "time" : "step", value: (_, value) => (value === null || value === undefined ? "–" : place(value)) },
      ...looks(curves).map((look, i) => ({ ...look, width: 1.6, spanGaps: true, points: { show: curves[i][x].length <= 30, size: 5 }, value: (_, value) => figure(value) })),
    ],
  };
  const plot = new uPlot(options, uPlot.join(curves.map((curve) => [curve[x], curve[4]])), box);
  sync.sub(plot);
  state.plots.push(plot);
}

// All plots anew, as axis, theme and width are now.
function drawAll() {
  for (const plot of state.plots) {
    sync.unsub(plot);
    plot.destroy();
  }
  state.plots = [];
  const places = [["plots", data.panels]];
  if (document.getElementById("more").open) places.push(["more-plots", data.more]);
  for (const [id, panels] of places) {
    document.getElementById(id).replaceChildren();
    for (const panel of panels) draw(panel, document.getElementById(id));
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  drawAll();
}

document.getElementById("axis").addEventListener("change", (event) => {
  state.axis = event.target.value;
  drawAll();
});
document.getElementById("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
document.getElementById("more").hidden = data.more.length === 0;
document.getElementById("more").addEventListener("toggle", drawAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) drawAll();
  width = innerWidth;
});
drawAll();
document.documentElement.dataset.ready = "1";
