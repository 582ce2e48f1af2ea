// Heat maps: time across, value up, colour for how many. Columns are {n: {key: count}, w: width, c: cells, m: marked}.

import { MARGIN, Frame } from "./plot.js";
import { pairs, percentile, rowsOf, upperBound, valueAt, valueOf } from "./buckets.js";
import { colourOf, greyOf } from "./palette.js";
import { commands, levels, shown } from "./units.js";

const LEAST_ROWS = 16; // four octaves
const SHARES = [0.5, 0.99];

export class HeatDrawing {
  constructor(metric, question, data, before) {
    Object.assign(this, { metric, question, data, before });
    this.width = Math.max(0, ...data.columns.map((column) => (column ? column.w : 0)));
    this.cells = data.columns.map((column) => (column ? pairs(column.c, column.w, this.width) : null));
    this.marked = data.columns.map((column) => (column && column.m ? pairs(column.m, column.w, this.width) : []));
    this.most = Math.max(1, ...this.cells.flatMap((cells) => (cells || []).map(([, count]) => count)));
    this.mostMarked = Math.max(1, ...this.marked.flatMap((cells) => cells.map(([, count]) => count)));
    this.setRows();
  }

  setRows() {
    const rows = this.cells.flatMap((cells) => (cells || []).map(([bucket]) => rowsOf(bucket, this.width)));
    let low = Math.min(...rows.map(([from]) => from));
    let high = Math.max(...rows.map(([, to]) => to));
    if (!rows.length) [low, high] = this.width ? [0, 16] : [1, 1 + LEAST_ROWS];
    if (this.width) low = 0;
    else {
      // Whole octaves, and at least some of them, so that the map does not jump with each value.
      low = low > 0 ? Math.floor((low - 1) / 4) * 4 + 1 : low === 0 ? 0 : Math.floor(low / 4) * 4 - 1;
      high = Math.max(Math.ceil((high - 1) / 4) * 4 + 1, low + LEAST_ROWS);
    }
    if (this.question.top) {
      const cut = high;
      while (high - 1 > low && valueAt(high - 1, this.width) >= this.question.top) high -= 1;
      this.cut = high < cut;
    }
    Object.assign(this, { low, high });
  }

  frame(width, height) {
    const frame = new Frame(width, height, this.data);
    frame.yEdge = (row) =>
      Math.round(frame.bottom - ((Math.max(this.low, Math.min(row, this.high)) - this.low) / (this.high - this.low)) * (frame.bottom - frame.top));
    frame.rowAt = (y) => this.low + Math.floor(((frame.bottom - y) / (frame.bottom - frame.top)) * (this.high - this.low));
    return frame;
  }

  // Values above what is shown are in the highest row, so that none is hidden.
  box(frame, at, bucket) {
    let [from, to] = rowsOf(bucket, this.width);
    if (to > this.high) [from, to] = [Math.min(from, this.high - 1), this.high];
    const [top, bottom] = [frame.yEdge(to), frame.yEdge(from)];
    return [frame.edge(at), Math.min(top, bottom - 1), frame.edge(at + 1) - frame.edge(at), Math.max(1, bottom - top)];
  }

  draw(surface, frame, colours) {
    frame.drawBack(surface, colours);
    this.drawLevels(surface, frame, colours);
    const base = this.question.mark ? greyOf : colourOf;
    this.drawCells(surface, frame, this.cells, (count) => base(count, this.most, this.question.linear, colours.dark));
    if (this.question.mark)
      this.drawCells(surface, frame, this.marked, (count) => colourOf(count, this.mostMarked, this.question.linear, colours.dark));
    if (this.before) this.drawBefore(surface, frame, colours);
    frame.drawTimes(surface, colours);
  }

  drawCells(surface, frame, columns, colour) {
    columns.forEach((cells, at) => {
      for (const [bucket, count] of cells || []) surface.rect(...this.box(frame, at, bucket), colour(count));
    });
  }

  drawLevels(surface, frame, colours) {
    const room = Math.max(2, Math.floor((frame.bottom - frame.top) / 26));
    if (this.width) {
      for (const value of levels(valueAt(this.high, this.width), room, "10"))
        frame.drawLevel(surface, colours, frame.yEdge(value / this.width), shown(value, this.metric.unit), true);
      return;
    }
    const octaves = (this.high - this.low) / 4;
    const every = 4 * Math.max(1, Math.ceil(octaves / room));
    for (let row = this.low; row <= this.high; row += 1) {
      const whole = row === 0 || (row > 0 ? (row - 1) % every === 0 : (-row - 1) % every === 0);
      if (whole) frame.drawLevel(surface, colours, frame.yEdge(row), shown(valueAt(row, 0), this.metric.unit), true);
    }
  }

  // The day before as two lines: half of its values, and all but one in a hundred, lie below.
  drawBefore(surface, frame, colours) {
    for (const share of SHARES) {
      const points = [];
      this.before.columns.forEach((column, at) => {
        const found = column && percentile(pairs(column.c, column.w, Math.max(column.w, this.width)), share, Math.max(column.w, this.width));
        if (!found) return;
        const y = frame.yEdge(rowsOf(found.bucket, this.width)[1]);
        points.push([frame.edge(at), y], [frame.edge(at + 1), y]);
      });
      if (points.length) surface.line(points, colours.ink, 1.5, share > 0.5 ? [5, 4] : [2, 3]);
    }
  }

  // The slice at the cursor as a histogram at the right.
  drawOver(surface, frame, colours, t, row) {
    frame.drawCursor(surface, colours, t);
    const at = frame.columnOf(t);
    const cells = at === null ? null : this.cells[at];
    if (!cells) return;
    const room = frame.width - frame.right - MARGIN.right;
    const most = Math.max(1, ...cells.map(([, count]) => count));
    for (const [bucket, count] of cells) {
      const [, y, , height] = this.box(frame, at, bucket);
      surface.rect(frame.right + 4, y, Math.max(2, (count / most) * room), Math.max(1, height - (height > 3 ? 1 : 0)), colours.faint);
    }
    if (row !== null) {
      const y = frame.yEdge(row) + 0.5;
      surface.line([[frame.left, y], [frame.right, y]], colours.ink, 1, [3, 3]);
    }
  }

  // The cells at a row of a column: [lowest value, above the highest, count].
  at(column, row) {
    const cells = this.cells[column] || [];
    const found = cells.filter(([bucket]) => {
      const [from, to] = rowsOf(bucket, this.width);
      return (from <= row && row < to) || (row === this.high - 1 && from >= this.high);
    });
    const count = found.reduce((sum, [, number]) => sum + number, 0);
    const values = found.flatMap(([bucket]) => [valueOf(bucket, this.width), upperBound(bucket, this.width)]);
    const low = found.length ? Math.min(...values) : valueAt(row, this.width);
    return [low, found.length ? Math.max(...values) : valueAt(row + 1, this.width), count];
  }

  readout(column, beforeColumn, place, row) {
    if (column === null) return "nobody watched then";
    const cells = this.cells[place];
    const count = cells.reduce((sum, [, number]) => sum + number, 0);
    const say = (share) => shown((percentile(cells, share, this.width) || { value: 0 }).value, this.metric.unit);
    let text = commands(count);
    if (count) text += `: half below ${say(0.5)}, 90 % ${say(0.9)}, 99 % ${say(0.99)}, highest below ${shown(upperBound(cells[cells.length - 1][0], this.width), this.metric.unit)}`;
    if (row !== null && row !== undefined) {
      const [low, high, here] = this.at(place, row);
      text += `; here ${here} of ${shown(low, this.metric.unit)} to ${shown(high, this.metric.unit)}`;
    }
    return text;
  }

  rows(column) {
    const sums = new Map();
    for (const each of this.data.columns)
      for (const [key, count] of Object.entries((each && each.n) || {})) sums.set(key, [...(sums.get(key) || []), count]);
    const all = this.data.columns.filter((each) => each !== null).length || 1;
    return [...sums].map(([key, counts]) => ({
      key,
      now: column ? column.n[key] ?? 0 : null,
      average: counts.reduce((sum, count) => sum + count, 0) / all,
      highest: Math.max(...counts),
      colour: null,
    }));
  }

  csv() {
    const lines = ["time,from,below,commands"];
    this.cells.forEach((cells, at) => {
      const when = new Date((this.data.begin + at * this.data.step) * 1000).toISOString();
      for (const [bucket, count] of cells || []) lines.push(`${when},${valueOf(bucket, this.width)},${upperBound(bucket, this.width)},${count}`);
    });
    return `${lines.join("\n")}\n`;
  }
}
