// Draws a state, or the part of it that zoom and pan show. The ground is one pixel a cell, scaled up; what stands on it are small pictures
// made once a size and theme.
"use strict";

const PALETTE = ["bare", "rubble", "side0", "side1", "lichen0", "lichen1", "lichen0-full", "lichen1-full", "ice", "ice-line", "ore", "ore-line",
  "grid", "ink", "paper", "danger", "night", "spawn", "good", "low", "middle", "high", "veil"];
const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8];

class Board {
  constructor(canvas, match) {
    this.canvas = canvas;
    this.match = match;
    this.context = canvas.getContext("2d", { alpha: false });
    const size = match.size;
    this.ground = make("canvas", { width: size, height: size });
    this.groundContext = this.ground.getContext("2d");
    this.pixels = this.groundContext.createImageData(size, size);
    this.still = make("canvas");
    this.fixed = make("canvas");
    this.stillFrame = -1;
    this.zoom = 1;
    this.left = this.top = 0; // device pixels of the whole board that lie left of and above the canvas
    this.readTheme();
  }

  // Fit the board into a square of so many CSS pixels, with whole device pixels a cell.
  resize(available) {
    const ratio = window.devicePixelRatio || 1, size = this.match.size;
    const base = Math.max(2, Math.floor((available * ratio) / size));
    this.canvas.style.width = this.canvas.style.height = `${(base * size) / ratio}px`;
    if (base !== this.base) this.resizeCells(base);
  }

  resizeCells(base) {
    const grown = base / (this.base || base), wide = base * this.match.size;
    this.base = base;
    for (const canvas of [this.canvas, this.still, this.fixed]) canvas.width = canvas.height = wide;
    this.cell = Math.round(base * this.zoom);
    this.moveTo(this.left * grown, this.top * grown);
    this.makePictures();
  }

  // Zoom so that what lies at a place of the canvas, in device pixels, stays there.
  zoomAt(zoom, x, y) {
    const grown = Math.round(this.base * zoom) / this.cell;
    this.zoom = zoom;
    this.cell = Math.round(this.base * zoom);
    this.moveTo((this.left + x) * grown - x, (this.top + y) * grown - y);
    this.makePictures();
  }

  moveTo(left, top) {
    const most = this.match.size * this.cell - this.canvas.width;
    this.left = Math.round(Math.max(0, Math.min(most, left)));
    this.top = Math.round(Math.max(0, Math.min(most, top)));
    this.stillFrame = this.fixedCell = -1;
  }

  // Move as little as it takes to have a cell in sight, with two cells around it.
  show(cell) {
    const { size } = this.match, s = this.cell, wide = this.canvas.width;
    const near = (at, from) => Math.max((at + 3) * s - wide, Math.min((at - 2) * s, from));
    const left = near(cell % size, this.left), top = near(Math.floor(cell / size), this.top);
    if (left !== this.left || top !== this.top) this.moveTo(left, top);
  }

  readTheme() {
    const style = getComputedStyle(document.documentElement);
    this.color = Object.fromEntries(PALETTE.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.rgb = Object.fromEntries(PALETTE.filter((name) => /^#/.test(this.color[name])).map((name) => [name, hexToRgb(this.color[name])]));
    const { bare, rubble } = this.rgb, { match } = this;
    this.rubbleTable = Array.from({ length: 101 }, (_, i) => mixRgb(bare, rubble, i ? 0.12 + (0.88 * i) / 100 : 0));
    this.lichenTable = [0, 1].map((side) =>
      Array.from({ length: 101 }, (_, i) => mixRgb(this.rgb[`lichen${side}`], this.rgb[`lichen${side}-full`], i / 100)));
    // strains of a side differ a little in lightness
    const rank = [0, 0];
    this.strainShade = match.header.owners.map((side) => (side < 0 ? 0 : ((rank[side]++ % 3) - 1) * 0.1));
    if (this.cell) this.makePictures();
  }

  makePictures() {
    const s = this.cell;
    this.pictures = new Map();
    // a row of slanted lines a side, of which runs of cells are copied
    this.hatch = [0, 1].map((side) => picture(s * this.match.size, (c, wide) => {
      c.fillStyle = c.createPattern(picture(s, (c) => hatch(c, s, side, this.color.paper)), "repeat");
      c.fillRect(0, 0, wide, s);
    }, s));
    this.spawnMark = picture(s, (c) => {
      c.fillStyle = this.color.spawn;
      c.beginPath();
      c.arc(s / 2, s / 2, Math.max(1, s * 0.14), 0, 7);
      c.fill();
    });
    this.stillFrame = this.fixedCell = -1;
  }

  // What never changes: ice, ore and the grid.
  drawFixed() {
    const { match, cell: s } = this, { size, header } = match, c = this.fixed.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.fixed.width, this.fixed.height);
    c.translate(-this.left, -this.top);
    for (const cell of header.ice) drawIce(c, cell % size, Math.floor(cell / size), s, this.color);
    for (const cell of header.ore) drawOre(c, cell % size, Math.floor(cell / size), s, this.color);
    if (s >= 8) {
      c.fillStyle = this.color.grid;
      for (let i = 1; i < size; i++) {
        c.fillRect(i * s, 0, 1, s * size);
        c.fillRect(0, i * s, s * size, 1);
      }
    }
    this.fixedCell = s;
  }

  // `view`: {overlay, marked: {kind, id} | null, cell: hovered cell or -1, part: 0..1 of the way from the last frame}.
  draw(view) {
    const { match, context: c, cell: s } = this, { state } = match;
    if (this.stillFrame !== match.frame) this.drawStill();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(this.still, 0, 0);
    c.translate(-this.left, -this.top);
    const marked = view.marked ? find(state, view.marked) : null;
    if (marked && marked.number !== undefined) this.outlineStrain(c, state, marked.number);
    if (view.overlay === "plans") drawPlans(c, this, state.robots.values(), PLAN_STEPS);
    const thinking = (view.overlay === "value" || view.overlay === "chance") && state.thoughts.size > 0;
    if (thinking) drawThoughts(c, this, view);
    else for (const robot of state.robots.values()) this.drawRobot(c, robot, view.part);
    for (const robot of state.died) this.drawCross(c, robot.cell, 1);
    for (const factory of state.lost) this.drawCross(c, factory.cell, 3);
    if (marked) this.mark(c, marked, this.color.ink, 2);
    if (marked && marked.queue) drawPlans(c, this, [marked], PINNED_STEPS);
    if (view.cell >= 0) {
      const x = (view.cell % match.size) * s, y = Math.floor(view.cell / match.size) * s;
      outline(c, x, y, s, s, this.color.ink, Math.max(1, s * 0.08));
    }
  }

  // What changes with the frame only: ground, lichen, factories.
  drawStill() {
    const { match, cell: s } = this, { state, size, header } = match, c = this.still.getContext("2d");
    const data = this.pixels.data, { rubble, lichen, strain } = state, owners = header.owners;
    for (let cell = 0, p = 0; cell < rubble.length; cell++, p += 4) {
      const ground = this.rubbleTable[rubble[cell]];
      let r = ground[0], g = ground[1], b = ground[2];
      const side = lichen[cell] > 0 ? owners[strain[cell] - 1] : -1;
      if (side >= 0) {
        const grown = this.lichenTable[side][lichen[cell]], shade = 1 + this.strainShade[strain[cell] - 1];
        r = grown[0] * shade; g = grown[1] * shade; b = grown[2] * shade;
      }
      data[p] = r; data[p + 1] = g; data[p + 2] = b; data[p + 3] = 255;
    }
    this.groundContext.putImageData(this.pixels, 0, 0);
    if (this.fixedCell !== s) this.drawFixed();
    c.setTransform(1, 0, 0, 1, -this.left, -this.top);
    c.imageSmoothingEnabled = false;
    c.drawImage(this.ground, 0, 0, s * size, s * size);
    if (s >= 6) this.drawHatch(c, state, owners);
    c.drawImage(this.fixed, this.left, this.top);
    if (state.step < 0) for (let cell = 0; cell < state.spawn.length; cell++) {
      if (state.spawn[cell]) c.drawImage(this.spawnMark, (cell % size) * s, Math.floor(cell / size) * s);
    }
    if (isNight(header, state.step)) {
      c.fillStyle = this.color.night;
      c.fillRect(0, 0, s * size, s * size);
    }
    for (const factory of state.factories.values()) this.drawFactory(c, factory, state);
    this.stillFrame = match.frame;
  }

  // Lichen also tells its side by the slant of its lines.
  drawHatch(c, state, owners) {
    const { size } = this.match, s = this.cell, { lichen, strain } = state;
    const sideOf = (cell) => (lichen[cell] > 0 ? owners[strain[cell] - 1] : -1);
    for (let y = 0; y < size; y++) {
      for (let x = 0, end; x < size; x = end) {
        const side = sideOf(x + y * size);
        for (end = x + 1; end < size && sideOf(end + y * size) === side; ) end++;
        if (side >= 0) c.drawImage(this.hatch[side], 0, 0, (end - x) * s, s, x * s, y * s, (end - x) * s, s);
      }
    }
  }

  drawFactory(c, factory, state) {
    const { size } = this.match, s = this.cell, w = 3 * s;
    const x = ((factory.cell % size) - 1) * s, y = (Math.floor(factory.cell / size) - 1) * s;
    const thirsty = factory.stock[3] < 30, gap = Math.max(1, s * 0.08);
    c.fillStyle = this.color.paper;
    shape(c, factory.side, x + gap / 2, y + gap / 2, w - gap, w - gap, s * 0.9);
    c.fill();
    c.fillStyle = this.color[`side${factory.side}`];
    shape(c, factory.side, x + gap * 1.5, y + gap * 1.5, w - 3 * gap, w - 3 * gap, s * 0.8);
    c.fill();
    c.fillStyle = this.color.paper;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.font = `700 ${Math.round(s * (s >= 8 ? 1.15 : 1.7))}px system-ui, sans-serif`;
    c.fillText(String(factory.number), x + w / 2, y + w * (s >= 8 ? 0.4 : 0.52));
    if (s >= 8) {
      // water in turns of drinking, as a figure and a drop; the alarm has a frame of its own
      c.font = `600 ${Math.round(s * 0.62)}px system-ui, sans-serif`;
      c.fillText(`${short(factory.stock[3])}${thirsty ? "!" : ""}`, x + w / 2, y + w * 0.76);
    }
    if (thirsty) outline(c, x + gap, y + gap, w - 2 * gap, w - 2 * gap, this.color.danger, Math.max(2, s * 0.2));
    const order = state.orders && state.orders.f ? state.orders.f[factory.number] : undefined;
    if (order !== undefined && s >= 8) {
      c.font = `700 ${Math.round(s * 0.6)}px system-ui, sans-serif`;
      c.fillText(["+L", "+H", "≈"][order], x + w * 0.78, y + w * 0.16);
    }
  }

  drawRobot(c, robot, part) {
    const { size } = this.match, s = this.cell;
    let x = robot.cell % size, y = Math.floor(robot.cell / size);
    if (part < 1 && robot.from !== robot.cell) {
      x += (1 - part) * ((robot.from % size) - x);
      y += (1 - part) * (Math.floor(robot.from / size) - y);
    }
    x = Math.round(x * s); y = Math.round(y * s);
    let most = -1, load = 0;
    for (let i = 0; i < 4; i++) if (robot.cargo[i] > load) { load = robot.cargo[i]; most = i; }
    c.drawImage(this.robotPicture(robot.side, robot.heavy, most), x, y);
    if (s >= 7) {
      const high = Math.max(2, Math.round(s * 0.13)), [battery] = this.match.header.robots[robot.heavy];
      const full = Math.min(1, robot.power / battery), wide = Math.round(s * (robot.heavy ? 0.9 : 0.7)), left = x + ((s - wide) >> 1);
      c.fillStyle = "rgba(0, 0, 0, .55)";
      c.fillRect(left, y + s - high, wide, high);
      c.fillStyle = full < 0.1 ? this.color.danger : this.color.good;
      c.fillRect(left, y + s - high, Math.max(1, Math.round(wide * full)), high);
    }
  }

  robotPicture(side, heavy, cargo) {
    const key = side + 2 * heavy + 4 * (cargo + 1);
    let made = this.pictures.get(key);
    if (!made) {
      const s = this.cell, line = Math.max(1, s * 0.09), half = heavy ? s * 0.46 : s * 0.33;
      made = picture(s, (c) => {
        const draw = (half) => shape(c, side, s / 2 - half, s * 0.47 - half, 2 * half, 2 * half, half * 0.5, true);
        c.fillStyle = this.color.ink;
        draw(half);
        c.fill();
        c.fillStyle = this.color[`side${side}`];
        draw(half - line);
        c.fill();
        if (heavy) {
          c.strokeStyle = this.color.paper;
          c.lineWidth = line;
          draw(half - 2 * line);
          c.stroke();
        }
        if (cargo >= 0) drawCargo(c, cargo, s / 2, s * 0.47, Math.max(1.5, s * (heavy ? 0.2 : 0.16)), this.color);
      });
      this.pictures.set(key, made);
    }
    return made;
  }

  drawCross(c, cell, width) {
    const { size } = this.match, s = this.cell, reach = (width * s) / 2;
    const x = ((cell % size) + 0.5) * s, y = (Math.floor(cell / size) + 0.5) * s;
    for (const [color, wide] of [[this.color.paper, 0.34], [this.color.danger, 0.2]]) {
      c.strokeStyle = color;
      c.lineWidth = s * wide;
      c.beginPath();
      c.moveTo(x - reach, y - reach);
      c.lineTo(x + reach, y + reach);
      c.moveTo(x - reach, y + reach);
      c.lineTo(x + reach, y - reach);
      c.stroke();
    }
  }

  outlineStrain(c, state, number) {
    const { size } = this.match, s = this.cell, { strain, lichen } = state, line = Math.max(1, s * 0.12);
    const inside = (x, y) => x >= 0 && y >= 0 && x < size && y < size && strain[x + y * size] === number + 1 && lichen[x + y * size] > 0;
    c.fillStyle = this.color.ink;
    for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
      if (!inside(x, y)) continue;
      if (!inside(x, y - 1)) c.fillRect(x * s, y * s, s, line);
      if (!inside(x, y + 1)) c.fillRect(x * s, (y + 1) * s - line, s, line);
      if (!inside(x - 1, y)) c.fillRect(x * s, y * s, line, s);
      if (!inside(x + 1, y)) c.fillRect((x + 1) * s - line, y * s, line, s);
    }
  }

  mark(c, entity, color, width) {
    const { size } = this.match, s = this.cell, reach = entity.number !== undefined ? 1 : 0, out = width + 1;
    const x = ((entity.cell % size) - reach) * s - out, y = (Math.floor(entity.cell / size) - reach) * s - out, w = (2 * reach + 1) * s + 2 * out;
    outline(c, x, y, w, w, this.color.paper, width + 3);
    outline(c, x, y, w, w, color, width);
  }

  // A place of the window in device pixels of the canvas.
  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.canvas.width, ((event.clientY - box.top) / box.height) * this.canvas.height];
  }

  // The cell under a mouse event, or -1.
  cellAt(event) {
    const { size } = this.match, [left, top] = this.placeOf(event);
    const inside = left >= 0 && top >= 0 && left < this.canvas.width && top < this.canvas.height;
    const x = Math.floor((left + this.left) / this.cell), y = Math.floor((top + this.top) / this.cell);
    return inside && x < size && y < size ? x + y * size : -1;
  }
}

const named = (name) => ({ kind: name[0] === "u" ? "robot" : "factory", id: Number(name.slice(1)) });
const find = (state, { kind, id }) => (kind === "robot" ? state.robots.get(id) : state.factories.get(id)) || null;

function picture(size, draw, high = size) {
  const canvas = make("canvas", { width: size, height: high });
  draw(canvas.getContext("2d"), size);
  return canvas;
}

// Side 0 is round, side 1 is square; a factory has rounded or cut corners.
function shape(c, side, x, y, w, h, corner, round = false) {
  c.beginPath();
  if (side === 0 && round) c.arc(x + w / 2, y + h / 2, Math.max(0.5, w / 2), 0, 7);
  else if (side === 0) c.roundRect(x, y, w, h, corner);
  else if (round) c.rect(x + w * 0.05, y + h * 0.05, w * 0.9, h * 0.9);
  else c.rect(x, y, w, h);
}

function outline(c, x, y, w, h, color, width) {
  c.strokeStyle = color;
  c.lineWidth = width;
  c.strokeRect(x + width / 2, y + width / 2, w - width, h - width);
}

function hatch(c, s, side, color) {
  c.globalAlpha = 0.4;
  c.strokeStyle = color;
  c.lineWidth = Math.max(1, s * 0.1);
  c.beginPath();
  for (const shift of [-s / 2, 0, s / 2]) {
    c.moveTo(side ? shift : shift + s, -0.5);
    c.lineTo(side ? shift + s : shift, s + 0.5);
  }
  c.stroke();
}

function drawIce(c, x, y, s, color) {
  c.fillStyle = color.ice;
  c.fillRect(x * s, y * s, s, s);
  c.strokeStyle = color["ice-line"];
  c.lineWidth = Math.max(1, s * 0.1);
  c.beginPath();
  for (let i = 0; i < 3; i++) {
    const dx = Math.cos((i * Math.PI) / 3 + Math.PI / 6) * s * 0.34, dy = Math.sin((i * Math.PI) / 3 + Math.PI / 6) * s * 0.34;
    c.moveTo((x + 0.5) * s - dx, (y + 0.5) * s - dy);
    c.lineTo((x + 0.5) * s + dx, (y + 0.5) * s + dy);
  }
  c.stroke();
}

function drawOre(c, x, y, s, color) {
  c.fillStyle = color.ore;
  c.fillRect(x * s, y * s, s, s);
  c.fillStyle = color["ore-line"];
  c.beginPath();
  c.moveTo((x + 0.5) * s, (y + 0.2) * s);
  c.lineTo((x + 0.82) * s, (y + 0.78) * s);
  c.lineTo((x + 0.18) * s, (y + 0.78) * s);
  c.fill();
}

// Ice is a diamond, ore a triangle, water a disc, metal a bar.
function drawCargo(c, cargo, x, y, r, color) {
  c.fillStyle = cargo === 0 || cargo === 2 ? color.ice : color.ore;
  c.strokeStyle = color.ink;
  c.lineWidth = Math.max(0.5, r * 0.25);
  c.beginPath();
  if (cargo === 0) { c.moveTo(x, y - r); c.lineTo(x + r, y); c.lineTo(x, y + r); c.lineTo(x - r, y); }
  else if (cargo === 1) { c.moveTo(x, y - r); c.lineTo(x + r, y + r * 0.8); c.lineTo(x - r, y + r * 0.8); }
  else if (cargo === 2) c.arc(x, y, r * 0.8, 0, 7);
  else c.rect(x - r, y - r * 0.5, 2 * r, r);
  c.closePath();
  c.fill();
  c.stroke();
}

function hexToRgb(hex) {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

const mixRgb = (a, b, part) => a.map((value, i) => value + (b[i] - value) * part);
const cssRgb = (rgb) => `rgb(${rgb.map(Math.round).join(",")})`;
