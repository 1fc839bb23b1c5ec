// Zoom and pan of the board: wheel, buttons and keys, dragging, two fingers.
"use strict";

const DRAG = 5; // CSS pixels from which a press is a drag and no click

class Zoom {
  constructor(board, changed) {
    this.board = board;
    this.changed = changed;
    this.fingers = new Map(); // what is pressed, by pointer: [x, y] in CSS pixels
    this.dragged = false;
    const { canvas } = board;
    canvas.addEventListener("wheel", (event) => {
      if (event.deltaY > 0 && board.zoom === 1) return; // the page scrolls
      event.preventDefault();
      this.step(event.deltaY < 0 ? 1 : -1, ...board.placeOf(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) canvas.addEventListener(kind, (event) => this.release(event));
  }

  // One of `ZOOMS` further in or out, round the middle unless a place of the canvas is given.
  step(by, x = this.board.canvas.width / 2, y = this.board.canvas.height / 2) {
    const at = ZOOMS.findIndex((zoom) => zoom >= this.board.zoom - 1e-6), to = Math.max(0, Math.min(ZOOMS.length - 1, at + by));
    this.to(ZOOMS[to], x, y);
  }

  to(zoom, x = 0, y = 0) {
    const { board } = this;
    if (zoom !== board.zoom) board.zoomAt(zoom, x, y);
    board.canvas.style.touchAction = zoom > 1 ? "none" : "pan-y";
    board.canvas.classList.toggle("zoomed", zoom > 1);
    this.changed();
  }

  press(event) {
    if (!this.fingers.size) this.dragged = false;
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    this.pinched = null;
  }

  release(event) {
    this.fingers.delete(event.pointerId);
    this.pinched = null;
  }

  drag(event) {
    const from = this.fingers.get(event.pointerId);
    if (!from) return;
    const dx = event.clientX - from[0], dy = event.clientY - from[1];
    if (this.fingers.size === 2) {
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
      this.pinch();
    } else if (this.board.zoom > 1 && (this.dragged || Math.hypot(dx, dy) > DRAG)) {
      const { board } = this, scale = board.canvas.width / board.canvas.clientWidth;
      this.dragged = true;
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
      board.moveTo(board.left - dx * scale, board.top - dy * scale);
      this.changed();
    }
  }

  pinch() {
    const [[ax, ay], [bx, by]] = [...this.fingers.values()], apart = Math.hypot(ax - bx, ay - by), { board } = this;
    this.dragged = true;
    if (!this.pinched) this.pinched = { apart, zoom: board.zoom };
    const zoom = Math.max(1, Math.min(ZOOMS[ZOOMS.length - 1], (this.pinched.zoom * apart) / Math.max(1, this.pinched.apart)));
    this.to(zoom, ...board.placeOf({ clientX: (ax + bx) / 2, clientY: (ay + by) / 2 }));
  }
}
