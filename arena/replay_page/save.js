// What is shown as a file: a turn as PNG, a span of turns as GIF or video, with a line above that says who, when and how it stands.
"use strict";

const VIDEO_TYPES = ["video/webm;codecs=vp9", "video/webm", "video/mp4"];
const LINE_HIGH = 30; // pixels of the line
const PALETTE_FRAMES = 5; // of a GIF, from which its colours are taken
const breath = () => new Promise((done) => setTimeout(done)); // so that the page stays alive meanwhile

// A board of its own, which shows the same part of the map with the same things on it.
class Film {
  constructor(page, width) {
    this.match = new Match(page.match.lines);
    this.board = new Board(make("canvas"), this.match);
    this.board.zoom = page.board.zoom;
    this.board.resizeCells(Math.max(4, Math.floor(width / this.match.size)));
    const grown = this.board.cell / page.board.cell;
    this.board.moveTo(page.board.left * grown, page.board.top * grown);
    this.view = { ...page.view, cell: -1, part: 1 };
    const wide = this.board.canvas.width;
    this.canvas = make("canvas", { width: wide, height: wide + LINE_HIGH });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  show(frame) {
    const { context: c, board, match } = this, wide = this.canvas.width;
    match.seek(frame);
    board.draw(this.view);
    const { lichen } = totals(match), { color } = board, style = getComputedStyle(document.documentElement);
    c.fillStyle = color.paper;
    c.fillRect(0, 0, wide, LINE_HIGH);
    c.textBaseline = "middle";
    c.font = "700 14px system-ui, sans-serif";
    for (const side of [0, 1]) {
      c.fillStyle = color[`side${side}`];
      shape(c, side, side ? wide - 20 : 8, LINE_HIGH / 2 - 6, 12, 12, 0, true);
      c.fill();
      c.fillStyle = style.getPropertyValue(`--side${side}-text`);
      c.textAlign = side ? "right" : "left";
      c.fillText(`${sideName(match, side)}  ${whole.format(lichen[side])}`, side ? wide - 26 : 26, LINE_HIGH / 2, wide * 0.36);
    }
    c.fillStyle = color.ink;
    c.textAlign = "center";
    c.fillText(match.state.step < 0 ? stageWords(match)[0] : `Turn ${match.state.step}`, wide / 2, LINE_HIGH / 2);
    c.drawImage(board.canvas, 0, LINE_HIGH);
    return this.canvas;
  }

  pixels() {
    return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height).data;
  }

  png(frame) {
    this.show(frame);
    return new Promise((done) => this.canvas.toBlob(done, "image/png"));
  }

  // One palette for the whole span, so that nothing flickers.
  palette(from, to) {
    const parts = [];
    for (let i = 0; i < PALETTE_FRAMES; i++) {
      this.show(Math.round(from + ((to - from) * i) / (PALETTE_FRAMES - 1)));
      parts.push(this.pixels());
    }
    const all = new Uint8ClampedArray(parts.length * parts[0].length);
    parts.forEach((part, i) => all.set(part, i * part.length));
    return gifenc.quantize(all, 256);
  }

  async gif(from, to, perSecond, told) {
    const encoder = gifenc.GIFEncoder(), palette = this.palette(from, to), { width, height } = this.canvas;
    for (let frame = from; frame <= to; frame++) {
      this.show(frame);
      const first = frame === from ? { palette, repeat: 0 } : {};
      encoder.writeFrame(gifenc.applyPalette(this.pixels(), palette), width, height, { ...first, delay: frame === to ? 1500 : 1000 / perSecond });
      told(frame);
      await breath();
    }
    encoder.finish();
    return new Blob([encoder.bytes()], { type: "image/gif" });
  }

  // A browser records only what goes by, so this takes as long as the film.
  async video(from, to, perSecond, told) {
    const mimeType = VIDEO_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    if (!mimeType) throw new Error("This browser cannot record a video; a GIF works.");
    this.show(from);
    const stream = this.canvas.captureStream(), parts = [];
    const recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: 6e6 });
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    const ended = new Promise((done) => recorder.addEventListener("stop", done));
    recorder.start();
    const began = performance.now();
    for (let frame = from; frame <= to; frame++) {
      this.show(frame);
      told(frame);
      const due = began + (1000 * (frame - from + 1)) / perSecond;
      await new Promise((done) => setTimeout(done, Math.max(0, due - performance.now())));
    }
    recorder.stop();
    await ended;
    for (const track of stream.getTracks()) track.stop();
    return new Blob(parts, { type: mimeType.split(";")[0] });
  }
}

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

class SaveDialog {
  constructor(page) {
    this.page = page;
    byId("save-video").hidden = typeof MediaRecorder === "undefined";
    byId("save-png").addEventListener("click", () => this.run("png"));
    byId("save-gif").addEventListener("click", () => this.run("gif"));
    byId("save-video").addEventListener("click", () => this.run("video"));
  }

  open() {
    const { match } = this.page, last = match.frames - 1;
    if (this.page.playing) this.page.pause();
    for (const id of ["save-from", "save-to"]) {
      byId(id).min = turnOf(match, 0);
      byId(id).max = turnOf(match, last);
    }
    byId("save-from").value = turnOf(match, this.page.target);
    byId("save-to").value = turnOf(match, Math.min(last, this.page.target + 50));
    byId("save").showModal();
  }

  // [first, last] frame of the span. Throws an error with a sentence.
  span() {
    const { match } = this.page, [least, most] = [turnOf(match, 0), turnOf(match, match.frames - 1)];
    const turns = ["save-from", "save-to"].map((id) => (byId(id).value === "" ? NaN : Number(byId(id).value)));
    if (!turns.every((turn) => Number.isInteger(turn) && turn >= least && turn <= most)) throw new Error(`The turns of this match are ${least} to ${most}.`);
    if (turns[0] > turns[1]) throw new Error(`Turn ${turns[0]} is after turn ${turns[1]}; the first turn comes first.`);
    return turns.map((turn) => turn + match.header.start);
  }

  // Make the file and hand it to the browser; what it is or what is wrong is said in the dialog.
  async run(kind) {
    if (this.busy) return;
    this.busy = true;
    const { page } = this, { match } = page, said = byId("saving");
    try {
      const film = new Film(page, Number(byId("save-width").value)), perSecond = Number(byId("save-speed").value);
      const [from, to] = kind === "png" ? [page.target, page.target] : this.span();
      const told = (frame) => { said.textContent = `Turn ${turnOf(match, frame)} of ${turnOf(match, to)} …`; };
      const blob = kind === "png" ? await film.png(from) : await film[kind](from, to, perSecond, told);
      const turns = kind === "png" ? turnOf(match, from) : `${turnOf(match, from)}-${turnOf(match, to)}`;
      const name = `match${match.header.seed === null ? "" : `-seed${match.header.seed}`}-turn${turns}.${blob.type.split("/")[1]}`;
      download(blob, name);
      said.textContent = `${name}, ${(blob.size / 1e6).toFixed(2)} MB`;
    } catch (error) {
      said.textContent = error.message;
    }
    this.busy = false;
  }
}
