// The frame that all graphs share: margins, the axis of time, gaps, and what is a pixel and what a time.

import { clock, times } from "./units.js";

const ROOM_FOR_WORDS = 110;
export const MARGIN = { left: 66, right: 10, slice: 90, narrow: 40, top: 8, bottom: 22 };

export function theme() {
  const style = getComputedStyle(document.documentElement);
  const ink = (name) => style.getPropertyValue(name).trim();
  return {
    dark: document.documentElement.dataset.theme === "dark",
    back: ink("--back"), ink: ink("--ink"), faint: ink("--faint"), line: ink("--line"), gap: ink("--gap"),
  };
}

export class Frame {
  // data: {begin, step, columns}. All graphs have the room for a slice's histogram, so that times stand below times.
  constructor(width, height, data) {
    Object.assign(this, { width, height, data });
    this.left = MARGIN.left;
    this.right = width - (width > 700 ? MARGIN.slice : MARGIN.narrow);
    this.top = MARGIN.top;
    this.bottom = height - MARGIN.bottom;
    this.begin = data.begin;
    this.end = data.begin + data.step * data.columns.length;
  }

  x(t) {
    return this.left + ((t - this.begin) / (this.end - this.begin)) * (this.right - this.left);
  }

  // The columns' edges are whole pixels, so that a heat map's cells have no seams.
  edge(column) {
    return Math.round(this.x(this.begin + column * this.data.step));
  }

  columnAt(x) {
    const column = Math.floor(((x - this.left) / (this.right - this.left)) * this.data.columns.length);
    return column >= 0 && column < this.data.columns.length ? column : null;
  }

  timeAt(x) {
    const t = this.begin + ((x - this.left) / (this.right - this.left)) * (this.end - this.begin);
    return Math.max(this.begin, Math.min(this.end, t));
  }

  columnOf(t) {
    const column = Math.floor((t - this.begin) / this.data.step);
    return column >= 0 && column < this.data.columns.length ? column : null;
  }

  drawBack(surface, colours) {
    surface.rect(0, 0, this.width, this.height, colours.back);
    let from = null;
    for (let column = 0; column <= this.data.columns.length; column += 1) {
      const gap = column < this.data.columns.length && this.data.columns[column] === null;
      if (gap && from === null) from = column;
      if (!gap && from !== null) {
        const [left, wide] = [this.edge(from), this.edge(column) - this.edge(from)];
        surface.rect(left, this.top, wide, this.bottom - this.top, colours.gap);
        // In the lowest line, where the fewest marks of an axis are.
        if (wide > ROOM_FOR_WORDS) surface.text(left + wide / 2, this.bottom - 6, "nobody watched", colours.faint, "center");
        from = null;
      }
    }
  }

  drawTimes(surface, colours) {
    const most = Math.max(2, Math.floor((this.right - this.left) / 85));
    for (const [t, label] of times(this.begin, this.end, most)) {
      const x = Math.round(this.x(t)) + 0.5;
      surface.line([[x, this.bottom], [x, this.bottom + 4]], colours.faint);
      const inside = Math.max(this.left + 10, Math.min(this.right - 16, x));
      surface.text(inside, this.bottom + 17, label, colours.faint, "center");
    }
    surface.line([[this.left, this.bottom + 0.5], [this.right, this.bottom + 0.5]], colours.line);
  }

  drawLevel(surface, colours, y, label, across) {
    if (across) surface.line([[this.left, y + 0.5], [this.right, y + 0.5]], colours.line);
    surface.text(this.left - 6, y + 4, label, colours.faint, "right");
  }

  drawCursor(surface, colours, t) {
    const x = Math.round(this.x(t)) + 0.5;
    if (x < this.left || x > this.right) return;
    surface.line([[x, this.top], [x, this.bottom]], colours.ink, 1, [3, 3]);
    const right = x > this.right - 70;
    surface.text(x + (right ? -4 : 4), this.top + 10, clock(t), colours.ink, right ? "right" : "left");
  }
}
