// The page: loads the match, keeps what is shown, and draws when something has changed.
"use strict";

const SPEEDS = [1, 2, 4, 8, 15, 30, 60, 120];
const GLIDE = 140; // milliseconds at most that a robot takes to its next cell
const still = window.matchMedia("(prefers-reduced-motion: reduce)");

class Page {
  constructor(match) {
    this.match = match;
    this.target = Math.max(0, Math.min(match.frames - 1, match.header.start + 1));
    this.playing = false;
    this.speed = 8;
    this.view = { overlay: "none", marked: null, cell: -1, part: 1 };
    this.times = []; // milliseconds of the last frames' own work
    this.board = new Board(byId("board"), match);
    this.score = new Score(byId("score"), match);
    this.charts = Object.keys(CURVE_NAMES).map((name) => new Chart(byId("curves"), name, match, (frame) => this.seek(frame)));
    this.events = new EventList(byId("events"), byId("event-kinds"), match, (frame) => this.seek(frame));
    this.factories = new FactoryTable(byId("factories"), match, (entity) => this.pin(entity));
    this.saving = new SaveDialog(this);
    this.zoom = new Zoom(this.board, () => { byId("zoom-fit").hidden = this.board.zoom === 1; this.request(); });
    this.scrub = byId("scrub");
    this.scrub.max = match.frames - 1;
    this.words();
    this.controls();
    this.keys();
    this.pointer();
    this.readAddress();
    window.addEventListener("hashchange", () => this.readAddress());
    new ResizeObserver(() => this.resize()).observe(byId("stage"));
    window.addEventListener("resize", () => this.resize());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => this.setTheme(event.matches ? "dark" : "light"));
    this.resize();
  }

  words() {
    const { header } = this.match, names = [0, 1].map((side) => sideName(this.match, side)), { winner, reason, seed, size } = header;
    byId("name0").textContent = names[0];
    byId("name1").textContent = names[1];
    [0, 1].forEach((side) => { byId(`name${side}`).title = header.names[side]; });
    const side = winner === "left" ? 0 : winner === "right" ? 1 : -1;
    const headline = side >= 0 ? [markOf(side), make("b", {}, `${names[side]} (${winner}) wins`)] : [make("b", {}, winner === "draw" ? "Draw" : "No result")];
    byId("result").replaceChildren(...headline, make("span", {}, reason), make("span", { class: "dim" }, `${size} × ${size}${seed === null ? "" : `, seed ${seed}`}`));
    byId("banner").replaceChildren(...headline.map((part) => part.cloneNode(true)), make("span", {}, reason));
    for (const option of document.querySelectorAll("[data-thoughts]")) if (!header.values) option.remove();
    byId("speed").append(...SPEEDS.map((speed) => make("option", { value: String(speed) }, `${speed}×`)));
    byId("speed").value = String(this.speed);
  }

  // ------------------------------------------------------------------------------------------------ what is shown

  seek(frame, glide = false) {
    this.target = Math.max(0, Math.min(this.match.frames - 1, Math.round(frame)));
    this.glideFrom = glide && !still.matches ? performance.now() : 0;
    this.request();
  }

  request() {
    if (!this.waiting) this.waiting = requestAnimationFrame((now) => this.render(now));
  }

  render(now) {
    this.waiting = 0;
    const began = performance.now(), { match, view } = this;
    if (this.playing) this.advance(now);
    match.seek(this.target);
    const changed = this.shown !== match.frame || this.dirty;
    if (this.shown !== match.frame) this.followMarked();
    this.shown = match.frame;
    const glide = Math.min(GLIDE, 800 / this.speed);
    view.part = this.glideFrom ? Math.min(1, (now - this.glideFrom) / glide) : 1;
    if (view.part >= 1) this.glideFrom = 0;
    this.board.draw(view);
    if (changed) this.drawWords(now);
    this.dirty = false;
    this.times.push(performance.now() - began);
    if (this.times.length > 4000) this.times.splice(0, 2000);
    if (this.playing || this.glideFrom) this.request();
  }

  // What is pinned stays in sight of a zoomed board.
  followMarked() {
    const entity = this.board.zoom > 1 && this.view.marked ? find(this.match.state, this.view.marked) : null;
    if (entity) this.board.show(entity.cell);
  }

  advance(now) {
    const due = (now - this.playedAt) * this.speed * 0.001;
    if (due >= 1) {
      const turns = Math.min(Math.floor(due), 40);
      this.playedAt = due > 41 ? now : this.playedAt + (1000 * turns) / this.speed; // a tab that slept does not hurry
      this.target = Math.min(this.match.frames - 1, this.target + turns);
      this.glideFrom = turns === 1 && this.speed <= 15 && !still.matches ? now : 0;
    }
    if (this.target >= this.match.frames - 1) this.pause();
  }

  drawWords(now) {
    const { match } = this, [phase, time] = stageWords(match), last = match.frame === match.frames - 1;
    byId("phase").textContent = phase;
    byId("daytime").textContent = time;
    this.scrub.value = match.frame;
    this.scrub.setAttribute("aria-valuetext", `${phase}, ${time}`);
    this.score.draw();
    for (const chart of this.charts) chart.draw();
    byId("banner").hidden = !last;
    byId("said").hidden = last;
    this.events.draw();
    if (!this.playing || now - (this.detailsAt || 0) > 100 || last) {
      this.detailsAt = now;
      this.drawDetails();
      this.factories.draw();
    }
    if (!this.playing) {
      this.keepAddress();
      for (const chart of this.charts) chart.describe();
      const sums = totals(match);
      byId("board").setAttribute("aria-label", `The board. ${phase}, ${time}. Lichen ${sums.lichen[0]} to ${sums.lichen[1]}, robots ${sums.robots[0]} to ${sums.robots[1]}.`);
    }
  }

  // ------------------------------------------------------------------------------------------------ the address

  address() {
    const { marked } = this.view;
    return `#turn=${turnOf(this.match, this.target)}${marked ? `&${marked.kind}=${marked.id}` : ""}`;
  }

  // Not at once: browsers refuse an address that changes many times a second.
  keepAddress() {
    clearTimeout(this.addressTimer);
    this.addressTimer = setTimeout(() => { if (location.hash !== this.address()) history.replaceState(null, "", this.address()); }, 250);
  }

  // #turn=120, or #turn=120&robot=7; what is no turn of the match is the nearest one.
  readAddress() {
    const said = new URLSearchParams(location.hash.slice(1)), turn = parseInt(said.get("turn"), 10);
    const kind = ["robot", "factory"].find((kind) => /^\d+$/.test(said.get(kind) || ""));
    if (!Number.isNaN(turn)) this.seek(turn + this.match.header.start);
    if (kind) this.view.marked = { kind, id: Number(said.get(kind)) };
    this.dirty = true;
  }

  copyAddress() {
    const address = location.href.replace(/#.*$/, "") + this.address(), button = byId("link");
    history.replaceState(null, "", this.address());
    const told = (words) => {
      button.textContent = words;
      setTimeout(() => { button.textContent = "Link"; }, 1500);
    };
    const copied = navigator.clipboard ? navigator.clipboard.writeText(address) : Promise.reject(new Error("no clipboard"));
    return copied.then(() => told("Copied"), () => { window.prompt("The address of this turn:", address); });
  }

  drawDetails() {
    fillDetails(byId("details"), this.match, this.view.marked, this.view.cell);
  }

  resize() {
    const frame = byId("frame"), wide = frame.clientWidth;
    const beside = window.matchMedia("(min-width: 900px)").matches;
    const below = byId("transport").offsetHeight + byId("track").offsetHeight + 20;
    const high = beside ? window.innerHeight - frame.getBoundingClientRect().top - window.scrollY - below : Infinity;
    this.board.resize(Math.max(240, Math.min(wide, high)));
    for (const chart of this.charts) chart.resize();
    drawStrip(byId("strip"), this.match);
    this.dirty = true;
    this.request();
  }

  // ----------------------------------------------------------------------------------------------------- controls

  play() {
    if (this.target >= this.match.frames - 1) this.target = 0;
    this.playing = true;
    this.playedAt = performance.now();
    this.playShown();
    this.request();
  }

  pause() {
    this.playing = false;
    this.dirty = true;
    this.playShown();
    this.request();
  }

  playShown() {
    byId("play-icon").setAttribute("href", this.playing ? "#i-pause" : "#i-play");
    byId("play").setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  step(turns) {
    if (this.playing) this.pause();
    this.seek(this.target + turns, turns === 1);
  }

  faster(by) {
    this.setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(this.speed) + by))]);
  }

  setSpeed(speed) {
    this.speed = speed;
    this.playedAt = performance.now();
    byId("speed").value = String(speed);
  }

  setOverlay(name) {
    this.view.overlay = byId("overlay").value = name;
    fillScale(byId("scale"), this.board, name);
    this.request();
  }

  toEvent(direction) {
    const frames = this.match.header.events.filter((event) => GROUPS.factories.includes(event[1])).map((event) => event[0]);
    const next = direction > 0 ? frames.find((t) => t > this.target) : frames.reverse().find((t) => t < this.target);
    if (next !== undefined) this.seek(next);
  }

  toggleTheme() {
    this.setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  }

  setTheme(name) {
    document.documentElement.dataset.theme = name;
    this.board.readTheme();
    for (const chart of this.charts) chart.drawStill();
    drawStrip(byId("strip"), this.match);
    this.dirty = true;
    this.request();
  }

  help() {
    if (byId("help").open) byId("help").close();
    else {
      fillLegend(byId("legend"), this.board);
      byId("help").showModal();
    }
  }

  controls() {
    const end = this.match.frames - 1;
    const on = (id, act) => byId(id).addEventListener("click", (event) => {
      act();
      if (event.detail > 0) event.currentTarget.blur(); // by mouse: the keys go to the page again
    });
    on("first", () => this.seek(0));
    on("back", () => this.step(-1));
    on("play", () => this.toggle());
    on("next", () => this.step(1));
    on("last", () => this.seek(end));
    on("theme", () => this.toggleTheme());
    on("help-button", () => this.help());
    on("link", () => this.copyAddress());
    on("save-button", () => this.saving.open());
    on("zoom-in", () => this.zoom.step(1));
    on("zoom-out", () => this.zoom.step(-1));
    on("zoom-fit", () => this.zoom.to(1));
    this.scrub.addEventListener("input", () => this.seek(Number(this.scrub.value)));
    byId("speed").addEventListener("change", (event) => { this.setSpeed(Number(event.target.value)); event.target.blur(); });
    byId("overlay").addEventListener("change", (event) => { this.setOverlay(event.target.value); event.target.blur(); });
  }

  keys() {
    const overlays = [...byId("overlay").options].map((option) => option.value);
    const acts = {
      " ": () => this.toggle(),
      ArrowLeft: (event) => this.step(event.shiftKey ? -10 : -1),
      ArrowRight: (event) => this.step(event.shiftKey ? 10 : 1),
      Home: () => this.seek(0),
      End: () => this.seek(this.match.frames - 1),
      "+": () => this.faster(1),
      "=": () => this.faster(1),
      "-": () => this.faster(-1),
      "?": () => this.help(),
      "[": () => this.toEvent(-1),
      "]": () => this.toEvent(1),
      t: () => this.toggleTheme(),
      z: () => this.zoom.step(1),
      x: () => this.zoom.step(-1),
      0: () => this.zoom.to(1),
      l: () => this.copyAddress(),
      s: () => this.saving.open(),
      o: () => this.setOverlay(overlays[(overlays.indexOf(this.view.overlay) + 1) % overlays.length]),
      Escape: () => this.pin(null),
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const open = byId("help").open, at = event.target;
      const act = acts[event.key] || acts[event.key.toLowerCase()];
      if (!act || (open && event.key !== "?") || byId("save").open) return;
      // a control that has the focus keeps the keys that work it
      if (at.tagName === "SELECT" || (at.tagName === "BUTTON" && event.key === " ")) return;
      event.preventDefault();
      act(event);
    });
  }

  // -------------------------------------------------------------------------------------------------------- pointer

  pointer() {
    const canvas = byId("board");
    const hover = (cell) => {
      if (cell === this.view.cell) return;
      this.view.cell = cell;
      this.drawDetails();
      this.request();
    };
    canvas.addEventListener("pointermove", (event) => hover(this.board.cellAt(event)));
    canvas.addEventListener("pointerleave", () => hover(-1));
    canvas.addEventListener("click", (event) => {
      if (this.zoom.dragged) return;
      const cell = this.board.cellAt(event), { marked } = this.view;
      const found = cell >= 0 ? entityOn(this.match.state, this.match.size, cell) : null;
      const same = found && marked && found.kind === marked.kind && found.id === marked.id;
      hover(cell);
      this.pin(same ? null : found);
    });
  }

  pin(entity) {
    this.view.marked = entity;
    this.followMarked();
    this.drawDetails();
    this.keepAddress();
    this.request();
  }
}

unpack(byId("data").textContent).then(
  (lines) => {
    byId("data").remove();
    window.replay = new Page(new Match(lines));
    document.documentElement.dataset.ready = "1";
  },
).catch((error) => {
  byId("result").textContent = error.message;
  document.documentElement.dataset.ready = "failed";
  throw error;
});
