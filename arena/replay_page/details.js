// The table of both sides, and the card about a cell, a robot or a factory.
"use strict";

const SCORE_ROWS = ["Lichen", "Factories", "Robots", "Power", "Water", "Metal"];

// [two numbers, two texts] a row, from the state itself.
function totals(match) {
  const { state, header } = match, lichen = [0, 0], factories = [0, 0], heavy = [0, 0], light = [0, 0], power = [0, 0], water = [0, 0], metal = [0, 0];
  state.lichen.forEach((amount, cell) => {
    if (amount && state.strain[cell]) lichen[header.owners[state.strain[cell] - 1]] += amount;
  });
  for (const { side, stock } of state.factories.values()) {
    factories[side]++;
    power[side] += stock[0];
    water[side] += stock[3];
    metal[side] += stock[4];
  }
  for (const robot of state.robots.values()) {
    (robot.heavy ? heavy : light)[robot.side]++;
    power[robot.side] += robot.power;
  }
  state.teams.forEach((team, side) => {
    water[side] += team[0];
    metal[side] += team[1];
  });
  return { lichen, factories, robots: [heavy[0] + light[0], heavy[1] + light[1]], heavy, light, power, water, metal };
}

class Score {
  constructor(table, match) {
    this.match = match;
    byId("head0").textContent = sideName(match, 0);
    byId("head1").textContent = sideName(match, 1);
    this.rows = SCORE_ROWS.map((name) => {
      const cells = [make("td", { class: "number left" }), make("td", { class: "number right" })], bars = [make("i", { class: "side0" }), make("i", { class: "side1" })];
      const label = make("th", { scope: "row" }, make("span", {}, name), make("span", { class: "bars", "aria-hidden": "true" }, ...bars));
      table.tBodies[0].append(make("tr", {}, cells[0], label, cells[1]));
      return { name, cells, bars };
    });
  }

  draw() {
    const sums = totals(this.match), { state } = this.match;
    for (const { name, cells, bars } of this.rows) {
      const pair = sums[name.toLowerCase()], most = Math.max(1, pair[0] + pair[1]);
      for (const side of [0, 1]) {
        const text = name === "Robots" ? `${sums.robots[side]} (${sums.heavy[side]} heavy)` : whole.format(pair[side]);
        if (cells[side].textContent !== text) cells[side].textContent = text;
        bars[side].style.transform = `scaleX(${pair[side] / most})`;
      }
    }
    const words = this.openingWords(state) || this.leadWords(sums.lichen);
    if (byId("said").textContent !== words) byId("said").textContent = words;
  }

  leadWords([left, right]) {
    if (left === right) return left ? "Both sides have the same lichen" : "No lichen yet";
    return `${sideName(this.match, left > right ? 0 : 1)} is ahead by ${whole.format(Math.abs(left - right))} lichen`;
  }

  openingWords(state) {
    if (state.step >= 0) return "";
    const { match } = this, orders = state.orders;
    if (!state.teams.length) return orders && orders.bid ? `Bids: ${orders.bid.map((bid) => (bid === null ? "none" : whole.format(bid))).join(" and ")}` : "";
    const told = state.teams.map((team, side) => `${sideName(match, side)} bid ${whole.format(team[4])}${team[3] ? " and places first" : ""}, ${team[2]} to place`);
    return told.join("; ");
  }
}

// What is on a cell, the most telling first.
function entityOn(state, size, cell) {
  for (const robot of state.robots.values()) if (robot.cell === cell) return { kind: "robot", id: robot.id };
  const x = cell % size, y = Math.floor(cell / size);
  for (const { number, cell: centre } of state.factories.values()) {
    if (Math.abs((centre % size) - x) <= 1 && Math.abs(Math.floor(centre / size) - y) <= 1) return { kind: "factory", id: number };
  }
  return null;
}

const markOf = (side) => make("span", { class: `mark side${side}`, "aria-hidden": "true" });

function pairs(...entries) {
  const list = make("dl", { class: "pairs" });
  for (const [name, value] of entries.filter(Boolean)) list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  return list;
}

function meter(part, words) {
  return make("span", { class: "meter" }, make("i", { style: `width:${Math.round(100 * Math.max(0, Math.min(1, part)))}%` }), make("b", {}, words));
}

function robotCard(match, robot) {
  const [battery, space] = match.header.robots[robot.heavy], { state } = match;
  const load = robot.cargo.map((amount, i) => (amount ? `${whole.format(amount)} ${CARGO[i]}` : "")).filter(Boolean).join(", ");
  const most = Math.max(...robot.cargo);
  const told = state.orders && state.orders.u && state.orders.u.includes(robot.id);
  const queue = make("ol", { class: "queue" });
  for (const entry of robot.queue) queue.append(make("li", {}, make("span", {}, queueWords(entry)), make("em", {}, timesWords(entry))));
  return [
    make("h2", {}, markOf(robot.side), `${robot.heavy ? "Heavy" : "Light"} robot ${robot.id}`, make("small", {}, sideName(match, robot.side))),
    pairs(["Power", meter(robot.power / battery, `${whole.format(robot.power)} of ${whole.format(battery)}`)], ["Cargo", meter(most / space, load || "nothing")]),
    make("h3", {}, "Queue", told ? make("small", {}, "gets new orders now") : null),
    robot.queue.length ? queue : make("p", { class: "dim" }, "empty"),
  ];
}

function factoryCard(match, factory) {
  const { state } = match, [power, ice, ore, water, metal] = factory.stock;
  let grown = 0, tiles = 0;
  state.lichen.forEach((amount, cell) => {
    if (amount && state.strain[cell] === factory.number + 1) { grown += amount; tiles++; }
  });
  const order = state.orders && state.orders.f ? state.orders.f[factory.number] : undefined;
  return [
    make("h2", {}, markOf(factory.side), `Factory ${factory.number}`, make("small", {}, sideName(match, factory.side))),
    pairs(["Power", whole.format(power)], ["Water", make("span", water < 30 ? { class: "alarm" } : {}, `${whole.format(water)}${water < 30 ? ` (${water} turns left without ice)` : ""}`)],
      ["Metal", whole.format(metal)], ["Ice", whole.format(ice)], ["Ore", whole.format(ore)], ["Lichen", `${whole.format(grown)} on ${tiles} tiles`],
      ["Order now", order === undefined ? "none" : FACTORY_ORDERS[order]]),
  ];
}

function thoughtCard(thought) {
  const [, value, action, , kinds] = thought, card = make("div", { class: "thought" });
  card.append(make("h3", {}, "What the agent thought"), pairs(["Value", signed(value)], ["Chosen", `${choiceWords(action)} (${percent(chosenChance(thought))})`]));
  for (const [kind, share] of kinds.slice(0, 5)) {
    card.append(make("div", { class: kind === action[0] ? "choice chosen" : "choice" }, make("span", {}, KINDS[kind]), meter(share, percent(share))));
  }
  return card;
}

function cellCard(match, cell) {
  const { state, size, header } = match, ice = header.ice.includes(cell), ore = header.ore.includes(cell);
  const strain = state.strain[cell] - 1, owner = strain >= 0 ? header.owners[strain] : -1;
  return [
    make("h3", {}, `Cell ${cell % size}, ${Math.floor(cell / size)}`),
    pairs(["Ground", ice ? "ice" : ore ? "ore" : "plain"], ["Rubble", String(state.rubble[cell])],
      state.lichen[cell] || strain >= 0 ? ["Lichen", `${state.lichen[cell]}, of factory ${strain} (${owner >= 0 ? sideName(match, owner) : "nobody"})`] : null,
      state.step < 0 && state.teams.length ? ["A factory here", state.spawn[cell] ? "possible" : "not possible"] : null),
  ];
}

// The card: what is pinned, else what is hovered, else a hint.
function fillDetails(card, match, pinned, cell) {
  const { state, size } = match;
  const chosen = pinned || (cell >= 0 ? entityOn(state, size, cell) : null), entity = chosen && find(state, chosen);
  const parts = [];
  if (entity) {
    parts.push(...(chosen.kind === "robot" ? robotCard : factoryCard)(match, entity));
    const thought = state.thoughts.get(`${chosen.kind === "robot" ? "u" : "f"}${chosen.id}`);
    if (thought) parts.push(thoughtCard(thought));
  } else if (pinned) {
    parts.push(make("h2", {}, `${pinned.kind === "robot" ? "Robot" : "Factory"} ${pinned.id}`), make("p", { class: "dim" }, "is not on the board in this turn."));
  }
  if (pinned) parts.push(make("p", { class: "dim" }, "Pinned; Esc or a click on it lets go."));
  if (cell >= 0) parts.push(...cellCard(match, cell));
  if (!parts.length) parts.push(make("p", { class: "dim hint" }, "Point at a cell to see what is there; click a robot or a factory to follow it."));
  card.replaceChildren(...parts);
}

function fillLegend(list, board) {
  const { color } = board, s = 26;
  const sign = (draw, words) => {
    const canvas = picture(s * 2, (c) => { c.scale(2, 2); draw(c); });
    canvas.setAttribute("aria-hidden", "true");
    list.append(make("li", {}, canvas, make("span", {}, words)));
  };
  const robot = (side, heavy, cargo) => (c) => {
    const { cell, pictures } = board;
    board.cell = 2 * s; board.pictures = new Map();
    c.drawImage(board.robotPicture(side, heavy, cargo), 0, 0, s, s);
    board.cell = cell; board.pictures = pictures;
  };
  const lichen = (side) => (c) => {
    c.fillStyle = color[`lichen${side}-full`];
    c.fillRect(0, 0, s, s);
    for (const x of [0, s / 2]) for (const y of [0, s / 2]) { c.save(); c.translate(x, y); hatch(c, s / 2, side, color.paper); c.restore(); }
  };
  list.replaceChildren();
  sign(robot(0, 1, -1), "a heavy robot of the left side: round, with a ring");
  sign(robot(1, 0, -1), "a light robot of the right side: square, small");
  sign(robot(0, 1, 0), "carries ice most (triangle: ore; disc: water; bar: metal)");
  sign(lichen(0), "lichen of the left side; the slant of the lines tells the sides apart");
  sign(lichen(1), "lichen of the right side; fuller colour is more lichen");
  sign((c) => drawIce(c, 0, 0, s, color), "ice");
  sign((c) => drawOre(c, 0, 0, s, color), "ore");
  sign((c) => { c.fillStyle = color.rubble; c.fillRect(0, 0, s, s); }, "rubble: the stronger, the more");
  sign((c) => { c.fillStyle = color.good; c.fillRect(2, 11, s - 4, 4); }, "a robot's power");
  sign((c) => { c.fillStyle = color.side0; shape(c, 0, 1, 1, s - 2, s - 2, 7); c.fill(); c.fillStyle = color.paper; c.font = "700 13px system-ui"; c.textAlign = "center"; c.fillText("4", s / 2, 17); },
    "factory 4 and its water; with a ! and a frame when under 30; +L, +H, ≈: it builds, it waters");
  sign((c) => { c.strokeStyle = color.danger; c.lineWidth = 4; c.beginPath(); c.moveTo(5, 5); c.lineTo(s - 5, s - 5); c.moveTo(s - 5, 5); c.lineTo(5, s - 5); c.stroke(); }, "died since the last turn");
}
