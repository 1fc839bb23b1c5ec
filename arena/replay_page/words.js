// The game in words: entities, queues, actions, stages of the match.
"use strict";

const CARGO = ["ice", "ore", "water", "metal"];
const RESOURCES = [...CARGO, "power"];
const DIRECTIONS = ["here", "up", "right", "down", "left"];
const ARROWS = ["·", "↑", "→", "↓", "←"];
const DX = [0, 0, 1, 0, -1], DY = [0, -1, 0, 1, 0];
const FACTORY_ORDERS = ["build light", "build heavy", "water"];
const KINDS = ["wait", "move", "transfer", "pick up", "dig", "self-destruct", "recharge", "build a light robot", "build a heavy robot", "water"];
const AMOUNTS = ["a quarter", "half", "all"];

const whole = new Intl.NumberFormat("en");
const short = (n) => (Math.abs(n) < 10000 ? whole.format(n) : `${(n / 1000).toFixed(Math.abs(n) < 100000 ? 1 : 0)}k`);
const percent = (p) => `${Math.round(100 * p)} %`;
const signed = (v) => (v === null ? "not a number" : `${v > 0 ? "+" : v < 0 ? "−" : ""}${Math.abs(v) >= 100 ? Math.round(Math.abs(v)) : Math.abs(v).toPrecision(3)}`);

// One entry of a robot's queue.
function queueWords([type, direction, resource, amount]) {
  const to = direction === 0 ? "here" : `${ARROWS[direction]} ${DIRECTIONS[direction]}`;
  if (type === 0) return direction === 0 ? "wait" : `move ${to}`;
  if (type === 1) return `transfer ${whole.format(amount)} ${RESOURCES[resource]} ${to}`;
  if (type === 2) return `pick up ${whole.format(amount)} ${RESOURCES[resource]}`;
  if (type === 3) return "dig";
  if (type === 4) return "self-destruct";
  if (type === 5) return `recharge to ${whole.format(amount)} power`;
  return `unknown action ${type}`;
}

// How often: n times, and again with `repeat`.
function timesWords(entry) {
  const repeat = entry[4], n = entry[5];
  return `${n > 1 ? `× ${whole.format(n)}` : ""}${repeat > 0 ? ` ⟳${repeat > 1 ? ` ${whole.format(repeat)}` : ""}` : ""}`.trim();
}

// A policy's choice [kind, direction, resource, amount].
function choiceWords([kind, direction, resource, amount]) {
  if (kind === 1) return `move ${ARROWS[direction]} ${DIRECTIONS[direction]}`;
  if (kind === 2) return `transfer ${AMOUNTS[amount]} ${RESOURCES[resource]} ${direction ? `${ARROWS[direction]} ${DIRECTIONS[direction]}` : "here"}`;
  if (kind === 3) return `pick up ${AMOUNTS[amount]} ${RESOURCES[resource]}`;
  return KINDS[kind] || `kind ${kind}`;
}

const chosenChance = (thought) => thought[3].reduce((product, p) => product * p, 1);

// [stage, time of day] of a frame.
function stageWords(match) {
  const { header, state, frame } = match;
  if (state.step < 0) {
    if (!state.teams.length) return ["Bidding", "the higher bid is paid and decides who places first"];
    const left = state.teams.reduce((sum, team) => sum + team[2], 0), all = 2 * header.perTeam;
    if (left === 0) return ["Placement", "all factories stand"];
    const side = state.teams.findIndex((team) => team[3] === frame % 2 && team[2] > 0);
    return ["Placement", `${all - left} of ${all} factories stand${side >= 0 ? `, ${sideName(match, side)} places` : ""}`];
  }
  const [cycle, day] = header.cycle, hour = state.step % cycle;
  const time = hour < day ? `day, ${day - hour} turns to night` : `night, ${cycle - hour} turns to day`;
  return [`Turn ${whole.format(state.step)} of ${whole.format(header.turns)}`, time];
}

// A side's name; of a long path the last part.
function sideName(match, side) {
  const name = match.header.names[side];
  return name.length > 14 && /[^/]\/[^/]/.test(name) ? name.replace(/\/+$/, "").replace(/^.*\//, "") : name;
}

const isNight = (header, step) => step >= 0 && step % header.cycle[0] >= header.cycle[1];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name === "style") element.style.cssText = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);
