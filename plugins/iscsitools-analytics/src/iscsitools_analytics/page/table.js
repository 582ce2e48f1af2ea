// The breakdown as a table: what a screen reader has of a graph, with totals at the cursor; a click chooses a row.

import { fill, make } from "./elements.js";
import { shown } from "./units.js";

const COLUMNS = [["key", ""], ["now", ""], ["average", "average"], ["highest", "highest"]];
const MOST = 100;

export class Table {
  constructor(choose) {
    Object.assign(this, { choose, sort: "average", down: true });
    this.element = make("div", { className: "scroll" });
  }

  // rows: {key, now, average, highest, colour}; marked: the key that is highlighted; pointed: there is a cursor; whole: names
  // are sentences, which begin with what they say.
  show({ rows, unit, name, marked, total, pointed, whole }) {
    const focus = document.activeElement && this.element.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const order = this.down ? -1 : 1;
    const less = (a, b) => (a[this.sort] ?? -1) < (b[this.sort] ?? -1) || (a[this.sort] === b[this.sort] && a.key < b.key);
    const sorted = [...rows].sort((a, b) => (less(a, b) ? -order : order));
    const titles = { key: name, now: pointed ? "at the cursor" : "newest" };
    const head = make("tr", {}, ...COLUMNS.map(([column, title]) => this.heading(column, title || titles[column])));
    const body = sorted.slice(0, MOST).map((row) => this.row(row, unit, row.key === marked, whole));
    const say = (value) => (value === null ? "" : shown(value, unit));
    const sum = (column) => rows.reduce((all, row) => all + (row[column] || 0), 0);
    const foot = total && rows.length
      ? make("tfoot", {}, make("tr", {}, make("td", { textContent: `total of ${rows.length}` }),
          make("td", { textContent: rows.some((row) => row.now !== null) ? say(sum("now")) : "" }),
          make("td", { textContent: say(sum("average")) }), make("td")))
      : null;
    fill(this.element, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body), foot));
    if (focus) this.element.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  }

  heading(column, title) {
    const button = make("button", { type: "button", textContent: title + (this.sort === column ? (this.down ? " \u25be" : " \u25b4") : "") });
    button.dataset.focus = `sort ${column}`;
    button.addEventListener("click", () => {
      this.down = this.sort === column ? !this.down : column !== "key";
      this.sort = column;
      this.onsort();
    });
    const sorting = this.sort === column ? (this.down ? "descending" : "ascending") : "none";
    return make("th", { scope: "col", "aria-sort": sorting }, button);
  }

  row(row, unit, marked, whole) {
    const swatch = row.colour ? make("span", { className: "swatch" }) : null;
    if (swatch) swatch.style.background = row.colour;
    // Names differ at their end: a long one is cut at its beginning, and is whole where the pointer rests.
    const key = make("span", { className: whole ? "key whole" : "key" }, make("bdi", { textContent: row.key || "(none)" }));
    const title = `${row.key || "(none)"}: shows it alone; once more, all others`;
    const button = make("button", { type: "button", title }, swatch, key);
    button.dataset.focus = `row ${row.key}`;
    button.addEventListener("click", () => this.choose(row.key));
    const cell = (value) => make("td", { textContent: value === null ? "" : shown(value, unit) });
    return make("tr", { className: marked ? "marked" : "" }, make("td", {}, button), cell(row.now), cell(row.average), cell(row.highest));
  }
}
