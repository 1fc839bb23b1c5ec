// From the packed lines (see pack.py) to any state of the match: the whole one before it, then changes.
"use strict";

async function unpack(text) {
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old for the page: it cannot unpack the match.");
  const packed = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return (await new Response(stream).text()).split("\n");
}

class Match {
  constructor(lines) {
    this.header = JSON.parse(lines[0]);
    this.lines = lines;
    this.frames = this.header.frames;
    this.size = this.header.size;
    this.frame = -1;
    this.seek(0);
  }

  // Change `this.state` to that of a frame. Robots keep in `from` where they stood in the frame before.
  seek(frame) {
    frame = Math.max(0, Math.min(this.frames - 1, Math.round(frame)));
    if (frame === this.frame) return this.state;
    const every = this.header.keyEvery;
    const forward = this.frame >= 0 && frame > this.frame && frame - this.frame <= every;
    if (!forward) {
      // not the whole state of the frame itself: only a change tells who moved and who died
      const key = frame === 0 ? 0 : Math.floor((frame - 1) / every);
      this.state = this.nothing();
      this.apply(this.lines[this.frames + key]);
      this.frame = key * every;
    }
    while (this.frame < frame) this.apply(this.lines[++this.frame]);
    this.frame = frame;
    return this.state;
  }

  nothing() {
    const cells = this.size * this.size;
    return {
      step: 0, rubble: new Uint8Array(cells), lichen: new Uint8Array(cells), strain: new Uint8Array(cells), spawn: new Uint8Array(cells),
      teams: [], robots: new Map(), factories: new Map(), died: [], lost: [], orders: null, thoughts: new Map(),
    };
  }

  apply(line) {
    const state = this.state, change = JSON.parse(line);
    state.step = change.t;
    if (change.r) addCells(state.rubble, change.r);
    if (change.l) addCells(state.lichen, change.l);
    if (change.s) addCells(state.strain, change.s);
    if (change.w) addCells(state.spawn, change.w);
    if (change.g) state.teams = change.g;
    this.applyRobots(state, change);
    this.applyFactories(state, change);
    state.orders = change.o || null;
    state.thoughts = new Map();
    if (change.v) for (const v of change.v) state.thoughts.set(v[0], v);
  }

  applyRobots(state, change) {
    const robots = state.robots;
    for (const robot of robots.values()) robot.from = robot.cell;
    state.died = [];
    for (const id of change.x || []) {
      state.died.push(robots.get(id));
      robots.delete(id);
    }
    const n = change.n || [];
    for (let i = 0; i < n.length; i += 3) {
      robots.set(n[i], { id: n[i], side: n[i + 1], heavy: n[i + 2], cell: -1, from: -1, power: 0, cargo: [0, 0, 0, 0], queue: [] });
    }
    const u = change.u || [];
    for (let i = 0; i < u.length; i += 3) {
      const robot = robots.get(u[i]);
      robot.cell = u[i + 1];
      robot.power = u[i + 2];
      if (robot.from < 0) robot.from = robot.cell;
    }
    const c = change.c || [];
    for (let i = 0; i < c.length; i += 5) robots.get(c[i]).cargo = c.slice(i + 1, i + 5);
    for (const id in change.q || {}) robots.get(Number(id)).queue = change.q[id];
    for (const id of change.a || []) {
      const robot = robots.get(id);
      robot.queue = wentOn(robot.queue);
    }
  }

  applyFactories(state, change) {
    const F = change.F || [], f = change.f || [];
    for (let i = 0; i < F.length; i += 3) {
      state.factories.set(F[i], { number: F[i], side: F[i + 1], cell: F[i + 2], stock: [0, 0, 0, 0, 0] });
    }
    for (let i = 0; i < f.length; i += 6) state.factories.get(f[i]).stock = f.slice(i + 1, i + 6);
    state.lost = [];
    for (const number of change.X || []) {
      state.lost.push(state.factories.get(number));
      state.factories.delete(number);
    }
  }
}

function addCells(board, runs) {
  for (let i = 0; i < runs.length; ) {
    const value = runs[i++];
    let count = runs[i++], cell = -1;
    for (; count > 0; count--) {
      cell += runs[i++];
      board[cell] += value;
    }
  }
}

// A queue after its first entry was carried out once: [type, direction, resource, amount, repeat, n] an entry.
function wentOn(queue) {
  const first = queue[0].slice(), rest = queue.slice(1), repeat = first[4];
  if (first[5] > 1) first[5]--;
  else if (repeat > 0) first[5] = repeat;
  else return rest;
  return queue[0][5] > 1 ? [first, ...rest] : [...rest, first];
}
