// The list of what happened, each entry a way to its turn, and the table of factories.
"use strict";

const GROUPS = { all: null, factories: ["placed", "fell", "lichen"], built: ["built"], lost: ["lost"] };
const FACTORY_COLUMNS = ["Power", "Ice", "Ore", "Water", "Metal"]; // as in a factory's stock

function eventWords([, what, , first, second]) {
  if (what === "placed") return `factory ${first} placed`;
  if (what === "fell") return `factory ${first} dies`;
  if (what === "lichen") return `first lichen, of factory ${first}`;
  const kinds = [first.length && `${first.length} heavy`, second.length && `${second.length} light`].filter(Boolean).join(" and ");
  const numbers = [...first, ...second].slice(0, 4).join(", ") + (first.length + second.length > 4 ? ", …" : "");
  return `${kinds} ${what} (${numbers})`;
}

// A frame's turn as it is written in lists and addresses: negative in the opening.
const turnOf = (match, frame) => frame - match.header.start;

class EventList {
  constructor(list, choice, match, onSeek) {
    this.match = match;
    this.list = list;
    this.choice = choice;
    choice.addEventListener("change", () => { this.fill(); this.draw(); choice.blur(); });
    list.addEventListener("click", (event) => {
      const item = event.target.closest("button");
      if (item) onSeek(Number(item.dataset.frame));
    });
    this.fill();
  }

  fill() {
    const { match } = this, kinds = GROUPS[this.choice.value];
    this.events = match.header.events.filter((event) => !kinds || kinds.includes(event[1]));
    this.items = this.events.map((event) => make("button", { class: `event ${event[1]}`, "data-frame": String(event[0]) },
      make("span", { class: "turn" }, String(turnOf(match, event[0]))), markOf(event[2]), make("span", {}, eventWords(event))));
    this.list.replaceChildren(...(this.items.length ? this.items.map((item) => make("li", {}, item)) : [make("li", { class: "dim" }, "nothing of it happened")]));
    this.now = -1;
  }

  // Mark the last event that has happened, and scroll the list to it.
  draw() {
    let low = 0, high = this.events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.events[middle][0] <= this.match.frame) low = middle + 1;
      else high = middle;
    }
    const now = low - 1;
    if (now === this.now) return;
    if (this.items[this.now]) this.items[this.now].removeAttribute("aria-current");
    this.now = now;
    if (now < 0) return;
    const item = this.items[now];
    item.setAttribute("aria-current", "true");
    this.list.scrollTop = item.offsetTop - this.list.clientHeight / 2;
  }
}

class FactoryTable {
  constructor(table, match, onPin) {
    this.match = match;
    this.rows = new Map();
    this.body = table.tBodies[0];
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) onPin({ kind: "factory", id: Number(row.dataset.number) });
    });
  }

  rowOf(factory) {
    if (!this.rows.has(factory.number)) {
      const name = make("button", { class: "plain", title: "Pin it" }, markOf(factory.side), String(factory.number));
      const cells = [...FACTORY_COLUMNS, "Lichen"].map(() => make("td", { class: "number right" }));
      const row = make("tr", { "data-number": String(factory.number) }, make("th", { scope: "row" }, name), ...cells);
      this.rows.set(factory.number, { row, cells });
      const later = [...this.body.children].find((other) => Number(other.dataset.number) > factory.number);
      this.body.insertBefore(row, later || null);
    }
    return this.rows.get(factory.number);
  }

  draw() {
    const { state } = this.match, grown = lichenOfStrains(state);
    for (const [number, { row }] of this.rows) row.hidden = !state.factories.has(number);
    for (const factory of state.factories.values()) {
      const { cells } = this.rowOf(factory);
      [...factory.stock, grown[factory.number + 1] || 0].forEach((value, i) => {
        const text = short(value);
        if (cells[i].textContent !== text) cells[i].textContent = text;
      });
      cells[3].classList.toggle("alarm", factory.stock[3] < 30);
    }
  }
}

// Lichen by strain + 1.
function lichenOfStrains(state) {
  const sums = new Array(256).fill(0), { lichen, strain } = state;
  for (let cell = 0; cell < lichen.length; cell++) sums[strain[cell]] += lichen[cell];
  return sums;
}
