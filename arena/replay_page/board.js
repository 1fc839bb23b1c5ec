// Draws a state. The ground is one pixel a cell, scaled up; what stands on it are small pictures made once a size and theme.
"use strict";

const PALETTE = ["bare", "rubble", "side0", "side1", "lichen0", "lichen1", "lichen0-full", "lichen1-full", "ice", "ice-line", "ore", "ore-line",
  "grid", "ink", "paper", "danger", "night", "spawn", "good", "bad"];

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
    this.stillFrame = -1;
    this.readTheme();
  }

  // Fit the board into a square of so many CSS pixels, with whole device pixels a cell.
  resize(available) {
    const ratio = window.devicePixelRatio || 1, size = this.match.size;
    const cell = Math.max(2, Math.floor((available * ratio) / size));
    this.canvas.style.width = this.canvas.style.height = `${(cell * size) / ratio}px`;
    if (cell === this.cell) return;
    this.cell = cell;
    this.canvas.width = this.canvas.height = this.still.width = this.still.height = cell * size;
    this.makePictures();
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
    // a whole board of slanted lines a side, of which runs of cells are copied
    this.hatch = [0, 1].map((side) => picture(s * this.match.size, (c, wide) => {
      c.fillStyle = c.createPattern(picture(s, (c) => hatch(c, s, side, this.color.paper)), "repeat");
      c.fillRect(0, 0, wide, wide);
    }));
    this.spawnMark = picture(s, (c) => {
      c.fillStyle = this.color.spawn;
      c.beginPath();
      c.arc(s / 2, s / 2, Math.max(1, s * 0.14), 0, 7);
      c.fill();
    });
    const size = this.match.size;
    this.fixed = make("canvas", { width: s * size, height: s * size });
    const c = this.fixed.getContext("2d");
    for (const cell of this.match.header.ice) drawIce(c, cell % size, Math.floor(cell / size), s, this.color);
    for (const cell of this.match.header.ore) drawOre(c, cell % size, Math.floor(cell / size), s, this.color);
    if (s >= 8) {
      c.fillStyle = this.color.grid;
      for (let i = 1; i < size; i++) {
        c.fillRect(i * s, 0, 1, s * size);
        c.fillRect(0, i * s, s * size, 1);
      }
    }
    this.stillFrame = -1;
  }

  // `view`: {overlay, marked: {kind, id} | null, cell: hovered cell or -1, part: 0..1 of the way from the last frame}.
  draw(view) {
    const { match, context: c, cell: s } = this;
    if (this.stillFrame !== match.frame) this.drawStill();
    c.drawImage(this.still, 0, 0);
    const state = match.state;
    const marked = view.marked ? find(state, view.marked) : null;
    if (marked && marked.number !== undefined) this.outlineStrain(c, state, marked.number);
    if (view.overlay === "plans") for (const robot of state.robots.values()) this.drawPlan(c, robot, 6);
    for (const robot of state.robots.values()) this.drawRobot(c, robot, view.part);
    for (const robot of state.died) this.drawCross(c, robot.cell, 1);
    for (const factory of state.lost) this.drawCross(c, factory.cell, 3);
    if ((view.overlay === "value" || view.overlay === "chance") && state.thoughts.size) this.drawThoughts(c, state, view);
    if (marked) this.mark(c, marked, this.color.ink, 2, view.part);
    if (marked && marked.queue) this.drawPlan(c, marked, 20);
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
    c.imageSmoothingEnabled = false;
    c.drawImage(this.ground, 0, 0, s * size, s * size);
    if (s >= 6) this.drawHatch(c, state, owners);
    c.drawImage(this.fixed, 0, 0);
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
        if (side >= 0) c.drawImage(this.hatch[side], x * s, y * s, (end - x) * s, s, x * s, y * s, (end - x) * s, s);
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

  // The way that a queue leads, with a dot where something else than moving is done.
  drawPlan(c, robot, entries) {
    const { size } = this.match, s = this.cell;
    let x = robot.cell % size, y = Math.floor(robot.cell / size);
    c.strokeStyle = c.fillStyle = this.color.ink;
    c.lineWidth = Math.max(1, s * 0.12);
    c.beginPath();
    c.moveTo((x + 0.5) * s, (y + 0.5) * s);
    const dots = [];
    for (const [type, direction, , , , n] of robot.queue.slice(0, entries)) {
      if (type === 0 && direction > 0) {
        const steps = Math.min(n, size);
        x = Math.max(0, Math.min(size - 1, x + DX[direction] * steps));
        y = Math.max(0, Math.min(size - 1, y + DY[direction] * steps));
        c.lineTo((x + 0.5) * s, (y + 0.5) * s);
      } else if (type !== 0) dots.push([x, y]);
    }
    c.stroke();
    for (const [x, y] of dots) c.fillRect((x + 0.5) * s - s * 0.15, (y + 0.5) * s - s * 0.15, s * 0.3, s * 0.3);
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

  // A label a robot and factory: its value, or the chance of what was chosen.
  drawThoughts(c, state, view) {
    const { size, header } = this.match, s = this.cell, far = header.values ? Math.max(1e-9, Math.abs(header.values[0]), Math.abs(header.values[1])) : 1;
    c.textAlign = "center";
    c.textBaseline = "middle";
    const high = Math.max(9, Math.round(s * 0.62));
    c.font = `700 ${high}px system-ui, sans-serif`;
    for (const thought of state.thoughts.values()) {
      const entity = find(state, named(thought[0]));
      if (!entity) continue;
      const value = thought[1] ?? 0, chance = chosenChance(thought);
      const strength = view.overlay === "value" ? value / far : 2 * chance - 1;
      const text = view.overlay === "value" ? signed(thought[1]) : `${Math.round(100 * chance)}%`;
      // above a robot, but at a factory's foot: robots stand around it
      const x = ((entity.cell % size) + 0.5) * s, y = Math.floor(entity.cell / size) * s + (entity.number !== undefined ? s * 1.9 : -s * 0.2);
      const wide = c.measureText(text).width + 6, top = Math.max(0, y - high * 0.6);
      c.fillStyle = this.color.paper;
      c.fillRect(x - wide / 2 - 1, top - 1, wide + 2, high + 4);
      const rgb = mixRgb(mixRgb(this.rgb.paper, this.rgb.ink, 0.08), strength >= 0 ? this.rgb.good : this.rgb.bad, Math.min(1, Math.abs(strength)) * 0.75);
      c.fillStyle = `rgb(${rgb.map(Math.round).join(",")})`;
      c.fillRect(x - wide / 2, top, wide, high + 2);
      c.fillStyle = this.color.ink;
      c.fillText(text, x, top + high / 2 + 1.5);
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

  // The cell under a mouse event, or -1.
  cellAt(event) {
    const box = this.canvas.getBoundingClientRect(), size = this.match.size;
    const x = Math.floor(((event.clientX - box.left) / box.width) * size), y = Math.floor(((event.clientY - box.top) / box.height) * size);
    return x >= 0 && y >= 0 && x < size && y < size ? x + y * size : -1;
  }
}

const named = (name) => ({ kind: name[0] === "u" ? "robot" : "factory", id: Number(name.slice(1)) });
const find = (state, { kind, id }) => (kind === "robot" ? state.robots.get(id) : state.factories.get(id)) || null;

function picture(size, draw) {
  const canvas = make("canvas", { width: size, height: size });
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
