// What can be shown above the board: the robots' next moves, and what the agent thought of each of its robots and factories.
"use strict";

const PLAN_STEPS = 6, PINNED_STEPS = 12; // turns ahead
const NUMBER_CELL = 26; // device pixels of a cell from which numbers fit into it

// What a queue does in the next turns, an entry a turn.
function nextSteps(queue, most) {
  const steps = [];
  for (; queue.length && steps.length < most; queue = wentOn(queue)) steps.push(queue[0]);
  return steps;
}

// [cells passed, the robot's own first, and whether it ends with work] of the next turns; no further than the edge of the map.
function wayAhead(robot, size, most) {
  let x = robot.cell % size, y = Math.floor(robot.cell / size), works = false;
  const cells = [robot.cell];
  for (const [type, direction] of nextSteps(robot.queue, most)) {
    works = type !== 0;
    if (works || direction === 0) continue;
    x += DX[direction];
    y += DY[direction];
    if (x < 0 || y < 0 || x >= size || y >= size) break;
    cells.push(x + y * size);
  }
  return [cells, works];
}

// Lines in the colours of the sides; a ring where a robot will stand then, a full dot where it will work.
function drawPlans(c, board, robots, most) {
  const { size } = board.match, s = board.cell, { color } = board, lines = [new Path2D(), new Path2D()], ends = [new Path2D(), new Path2D()], dots = [new Path2D(), new Path2D()];
  const r = Math.max(1.5, s * 0.2);
  for (const robot of robots) {
    const [cells, works] = wayAhead(robot, size, most), path = lines[robot.side];
    if (cells.length < 2) continue;
    const at = cells.map((cell) => [((cell % size) + 0.5) * s, (Math.floor(cell / size) + 0.5) * s]), [x, y] = at[at.length - 1];
    path.moveTo(...at[0]);
    for (const place of at.slice(1)) path.lineTo(...place);
    const end = (works ? dots : ends)[robot.side];
    end.moveTo(x + r, y);
    end.arc(x, y, r, 0, 7);
  }
  c.lineJoin = c.lineCap = "round";
  for (const side of [0, 1]) for (const [stroke, wide] of [[color.paper, Math.max(3, s * 0.32)], [color[`side${side}`], Math.max(1.5, s * 0.16)]]) {
    c.strokeStyle = stroke;
    c.lineWidth = wide;
    c.stroke(lines[side]);
    c.stroke(ends[side]);
    c.stroke(dots[side]);
  }
  for (const side of [0, 1]) {
    c.fillStyle = color.paper;
    c.fill(ends[side]);
    c.fillStyle = color[`side${side}`];
    c.fill(dots[side]);
  }
  c.lineJoin = "miter";
  c.lineCap = "butt";
}

// The lowest, middle and highest number of an overlay's scale.
const scaleOf = (header, overlay) => (overlay === "value" && header.values) || [0, 0.5, 1];

// A number's colour on such a scale, as red, green, blue.
function onScale(rgb, [low, middle, high], value) {
  const part = (from, to) => Math.max(0, Math.min(1, (value - from) / Math.max(1e-9, to - from)));
  return value < middle ? mixRgb(rgb.low, rgb.middle, part(low, middle)) : mixRgb(rgb.middle, rgb.high, part(middle, high));
}

// Robots and factories filled with the colour of their value, or of the chance of what was chosen; a rim tells the side. Others step back.
function drawThoughts(c, board, view) {
  const { state, size, header } = board.match, s = board.cell, { color, rgb } = board, scale = scaleOf(header, view.overlay);
  c.fillStyle = color.veil;
  c.fillRect(0, 0, size * s, size * s);
  c.globalAlpha = 0.4;
  for (const robot of state.robots.values()) if (!state.thoughts.has(`u${robot.id}`)) board.drawRobot(c, robot, view.part);
  c.globalAlpha = 1;
  c.textAlign = "center";
  c.textBaseline = "middle";
  for (const robots of [false, true]) for (const thought of state.thoughts.values()) {
    const entity = find(state, named(thought[0]));
    if (!entity || (entity.number === undefined) !== robots) continue;
    const shown = view.overlay === "value" ? thought[1] : chosenChance(thought);
    const fill = shown === null ? color.paper : cssRgb(onScale(rgb, scale, shown));
    drawThought(c, board, entity, fill);
    if (robots && s < NUMBER_CELL) continue;
    const words = s < NUMBER_CELL ? String(entity.number) : view.overlay === "value" ? signed(shown) : percent(shown);
    const x = ((entity.cell % size) + 0.5) * s, y = (Math.floor(entity.cell / size) + 0.5) * s;
    c.font = `700 ${Math.round(s * (robots ? 0.3 : s < NUMBER_CELL ? 1.1 : 0.5))}px system-ui, sans-serif`;
    c.lineWidth = Math.max(2, s * 0.08);
    c.strokeStyle = color.paper;
    c.strokeText(words, x, y);
    c.fillStyle = color.ink;
    c.fillText(words, x, y);
  }
}

function drawThought(c, board, entity, fill) {
  const { size } = board.match, s = board.cell, { color } = board, factory = entity.number !== undefined;
  const half = factory ? s * 1.42 : entity.heavy ? s * 0.52 : s * 0.43, rim = factory ? Math.max(2, s * 0.28) : Math.max(1, s * 0.1);
  const x = ((entity.cell % size) + 0.5) * s, y = (Math.floor(entity.cell / size) + 0.5) * s;
  const halo = factory ? rim * 0.35 : 0;
  for (const [inset, style] of [[halo ? 0 : -1, color.paper], [halo, color[`side${entity.side}`]], [halo + rim, fill]]) {
    const h = half - inset;
    c.fillStyle = style;
    shape(c, entity.side, x - h, y - h, 2 * h, 2 * h, s * 0.7, !factory);
    c.fill();
  }
}

// The scale beside the choice of what is shown; empty for what has none.
function fillScale(place, board, overlay) {
  const { header } = board.match, words = overlay === "value" ? signed : percent, [low, middle, high] = scaleOf(header, overlay);
  place.hidden = overlay !== "value" && overlay !== "chance";
  place.replaceChildren(words(low), make("i", { class: "low", "aria-hidden": "true" }), words(middle), make("i", { class: "high", "aria-hidden": "true" }), words(high));
}
