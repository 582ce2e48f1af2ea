// Stacks and lines: what is drawn of columns that are {key: value}.

import { Frame } from "./plot.js";
import { MOST_KEYS, REST, keyColour } from "./palette.js";
import { levels, shown } from "./units.js";

const OTHERS = "all others";

// The keys in order of what they have in sight, the largest first; those beyond the colours are one.
export function keysOf(data) {
  const sums = new Map();
  for (const column of data.columns)
    for (const [key, value] of Object.entries(column || {})) sums.set(key, (sums.get(key) || 0) + value);
  const sorted = [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([key]) => key);
  return sorted;
}

const drawn = (keys) => (keys.length > MOST_KEYS ? [...keys.slice(0, MOST_KEYS - 1), OTHERS] : keys);

export const colourFor = (dim, key) => (key === OTHERS ? REST : keyColour(dim, key));

export class StackDrawing {
  constructor(metric, question, data, before) {
    Object.assign(this, { metric, data, before, dim: question.by ?? metric.by });
    this.keys = keysOf(data);
    this.shown = drawn(this.keys);
    // A key keeps its place in the stack and its colour while others come and go.
    this.places = [...this.shown].sort((a, b) => (a === OTHERS) - (b === OTHERS) || (a < b ? -1 : 1));
    this.places.forEach((key) => colourFor(this.dim, key));
    this.stacked = metric.kind === "stack";
  }

  value(column, key) {
    if (!column) return this.stacked ? 0 : null;
    if (key !== OTHERS) return column[key] ?? (this.stacked ? 0 : null);
    return Object.entries(column).filter(([each]) => !this.shown.includes(each)).reduce((sum, [, value]) => sum + value, 0);
  }

  total(column) {
    return Object.values(column || {}).reduce((sum, value) => sum + value, 0);
  }

  height(column) {
    return this.stacked ? this.total(column) : Math.max(0, ...Object.values(column || {}));
  }

  frame(width, height) {
    return new Frame(width, height, this.data);
  }

  draw(surface, frame, colours) {
    const before = this.before ? this.before.columns : [];
    const most = Math.max(0, ...this.data.columns.map((c) => this.height(c)), ...before.map((c) => this.height(c)));
    const y = (value) => frame.bottom - (most ? (value / (most * 1.05)) * (frame.bottom - frame.top) : 0);
    frame.drawBack(surface, colours);
    for (const level of levels(most, 4, this.metric.unit))
      frame.drawLevel(surface, colours, Math.round(y(level)), shown(level, this.metric.unit), level > 0);
    if (this.stacked) this.drawStack(surface, frame, y);
    else this.drawLines(surface, frame, y);
    if (before.length) this.drawBefore(surface, frame, y, colours);
    frame.drawTimes(surface, colours);
  }

  // Columns are steps: what is drawn of one second is that second's, not a slope to the next.
  drawStack(surface, frame, y) {
    const floor = this.data.columns.map(() => 0);
    for (const key of this.places) {
      const above = this.data.columns.map((column, at) => floor[at] + this.value(column, key));
      const points = [];
      above.forEach((value, at) => points.push([frame.edge(at), y(value)], [frame.edge(at + 1), y(value)]));
      for (let at = floor.length - 1; at >= 0; at -= 1)
        points.push([frame.edge(at + 1), y(floor[at])], [frame.edge(at), y(floor[at])]);
      surface.area(points, colourFor(this.dim, key));
      above.forEach((value, at) => (floor[at] = value));
    }
  }

  drawLines(surface, frame, y) {
    for (const key of this.places.filter((each) => each !== OTHERS)) {
      let points = [];
      const flush = () => {
        if (points.length) surface.line(points, colourFor(this.dim, key), 1.75);
        points = [];
      };
      this.data.columns.forEach((column, at) => {
        const value = this.value(column, key);
        if (value === null) flush();
        else points.push([frame.edge(at), y(value)], [frame.edge(at + 1), y(value)]);
      });
      flush();
    }
  }

  drawBefore(surface, frame, y, colours) {
    const points = [];
    this.before.columns.forEach((column, at) => {
      if (column) points.push([frame.edge(at), y(this.height(column))], [frame.edge(at + 1), y(this.height(column))]);
    });
    if (points.length > 1) surface.line(points, colours.ink, 1.5, [5, 4]);
  }

  drawOver(surface, frame, colours, t) {
    frame.drawCursor(surface, colours, t);
  }

  readout(column, beforeColumn) {
    if (column === null) return "nobody watched then";
    const unit = this.metric.unit;
    const text = this.stacked ? `total ${shown(this.total(column), unit)}` : `highest ${shown(this.height(column), unit)}`;
    return beforeColumn ? `${text}, the day before ${shown(this.height(beforeColumn), unit)}` : text;
  }

  // Of the table: a row for each key.
  rows(column) {
    const counted = this.data.columns.filter((each) => each !== null).length || 1;
    return this.keys.map((key) => {
      const values = this.data.columns.map((each) => each && each[key]).filter((value) => value !== undefined && value !== null);
      const sum = values.reduce((total, value) => total + value, 0);
      return {
        key,
        now: column ? column[key] ?? (this.stacked ? 0 : null) : null,
        average: this.stacked ? sum / counted : sum / (values.length || 1),
        highest: Math.max(0, ...values),
        colour: this.shown.includes(key) ? colourFor(this.dim, key) : REST,
      };
    });
  }

  csv() {
    const lines = ["time,key,value"];
    this.data.columns.forEach((column, at) => {
      for (const [key, value] of Object.entries(column || {}))
        lines.push(`${new Date((this.data.begin + at * this.data.step) * 1000).toISOString()},${field(key)},${value}`);
    });
    return `${lines.join("\n")}\n`;
  }
}

// A name that an initiator chose is no formula in a spreadsheet.
const field = (text) => `"${(/^[=+@\t\r-]/.test(text) ? `'${text}` : text).replace(/"/g, '""')}"`;
