// The four curves and the time line's strip. What does not change with the frame is drawn once a size and theme.
"use strict";

const AXIS = 13; // CSS pixels below a curve for the turns
const CURVE_NAMES = { lichen: "Lichen", power: "Power", water: "Water", robots: "Robots" };

class Chart {
  constructor(parent, name, match, onSeek) {
    this.match = match;
    this.curve = match.header.curves[name];
    this.values = [0, 1].map((side) => make("b", { class: `value side${side}` }));
    this.canvas = make("canvas", { role: "img" });
    parent.append(make("figure", {}, make("figcaption", {}, make("span", {}, CURVE_NAMES[name]), ...this.values), this.canvas));
    this.name = name;
    this.still = make("canvas");
    const seek = (event) => onSeek(this.frameAt(event));
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.canvas.addEventListener("pointermove", (event) => event.buttons && seek(event));
  }

  frameAt(event) {
    const box = this.canvas.getBoundingClientRect();
    return Math.round(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * (this.match.frames - 1));
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = this.still.width = Math.max(10, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = this.still.height = Math.max(10, Math.round(this.canvas.clientHeight * ratio));
    this.ratio = ratio;
    this.drawStill();
  }

  drawStill() {
    const c = this.still.getContext("2d"), w = this.still.width, h = this.still.height, r = this.ratio, color = pageColors();
    const most = Math.max(1, ...this.curve[0], ...this.curve[1]), pad = 3 * r, foot = h - AXIS * r - pad; // where 0 is
    c.clearRect(0, 0, w, h);
    c.strokeStyle = color.line;
    c.lineWidth = 1;
    c.beginPath();
    for (const part of [0, 0.5, 1]) {
      const y = Math.round(foot - part * (foot - pad)) + 0.5;
      c.moveTo(0, y);
      c.lineTo(w, y);
    }
    c.stroke();
    const last = Math.max(1, this.match.frames - 1);
    for (const side of [1, 0]) {
      c.strokeStyle = color[`side${side}`];
      c.lineWidth = 1.8 * r;
      c.lineJoin = "round";
      c.setLineDash(side ? [5 * r, 3 * r] : []);
      c.beginPath();
      this.curve[side].forEach((value, t) => c.lineTo((t / last) * w, foot - (value / most) * (foot - pad)));
      c.stroke();
    }
    c.setLineDash([]);
    c.font = `${10 * r}px system-ui, sans-serif`;
    c.textBaseline = "top";
    c.strokeStyle = color.card; // a halo, where a curve runs behind the figure
    c.lineWidth = 4 * r;
    c.strokeText(short(most), 2 * r, pad + 2 * r);
    c.fillStyle = color.dim;
    c.fillText(short(most), 2 * r, pad + 2 * r);
    this.drawTurns(c, w, h, color);
    this.height = (value) => foot - (value / most) * (foot - pad);
    this.color = color;
  }

  drawTurns(c, w, h, color) {
    const { match, ratio: r } = this, first = turnOf(match, 0), last = turnOf(match, match.frames - 1), every = roundStep((last - first) / 4);
    c.font = `${9.5 * r}px system-ui, sans-serif`;
    c.textBaseline = "bottom";
    c.fillStyle = c.strokeStyle = color.dim;
    for (let turn = Math.ceil(first / every) * every; turn <= last; turn += every) {
      const x = ((turn - first) / Math.max(1, last - first)) * w, words = turn === 0 ? "turn 0" : String(turn);
      c.textAlign = x < 20 * r ? "left" : x > w - 12 * r ? "right" : "center";
      c.fillRect(Math.min(w - r, Math.round(x)), h - AXIS * r - 2 * r, r, 3 * r);
      c.fillText(words, x, h);
    }
    c.textAlign = "left";
  }

  draw() {
    const c = this.canvas.getContext("2d"), w = this.canvas.width, h = this.canvas.height, t = this.match.frame, r = this.ratio;
    const x = Math.round((t / Math.max(1, this.match.frames - 1)) * (w - r));
    c.clearRect(0, 0, w, h);
    c.drawImage(this.still, 0, 0);
    c.fillStyle = this.color.ink;
    c.fillRect(x, 0, r, h - AXIS * r);
    [0, 1].forEach((side) => {
      const text = short(this.curve[side][t]), y = this.height(this.curve[side][t]);
      if (this.values[side].textContent !== text) this.values[side].textContent = text;
      c.fillStyle = this.color[`side${side}`];
      if (side) c.fillRect(x - 3 * r, y - 3 * r, 6 * r, 6 * r);
      else {
        c.beginPath();
        c.arc(x, y, 3.5 * r, 0, 7);
        c.fill();
      }
    });
  }

  // For those who do not see the curve.
  describe() {
    const t = this.match.frame, { names } = this.match.header;
    this.canvas.setAttribute("aria-label", `${CURVE_NAMES[this.name]}: ${names[0]} ${this.curve[0][t]}, ${names[1]} ${this.curve[1][t]}`);
  }
}

function pageColors() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["side0", "side1", "line", "dim", "ink", "card", "night-strip", "day-strip", "danger", "open-strip"]
    .map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// The least of 1, 2, 5, 10, 20, ... that is not below `least`.
function roundStep(least) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((n) => n * ten).find((n) => n >= least);
}

// Opening, days and nights, and where factories were placed (below) or lost (above).
function drawStrip(canvas, match) {
  const ratio = window.devicePixelRatio || 1, color = pageColors(), { header } = match;
  const w = (canvas.width = Math.max(10, Math.round(canvas.clientWidth * ratio))), h = (canvas.height = Math.round(canvas.clientHeight * ratio));
  const c = canvas.getContext("2d"), last = Math.max(1, match.frames - 1), opening = header.start, at = (t) => (t / last) * w;
  c.fillStyle = color["day-strip"];
  c.fillRect(0, h * 0.3, w, h * 0.4);
  c.fillStyle = color["night-strip"];
  for (let t = opening + header.cycle[1]; t < match.frames; t += header.cycle[0]) {
    c.fillRect(at(t), h * 0.3, at(Math.min(last, t + header.cycle[0] - header.cycle[1])) - at(t), h * 0.4);
  }
  c.fillStyle = color["open-strip"];
  c.fillRect(0, h * 0.3, at(Math.max(0, Math.min(last, opening))), h * 0.4);
  for (const [t, what, side] of header.events) {
    c.fillStyle = color[`side${side}`];
    if (what === "fell") c.fillRect(at(t) - ratio, 0, 2 * ratio, h);
  }
}
