// One graph: its head, its plot with a cursor, and its table.

import { SvgSurface, CanvasSurface } from "./surface.js";
import { HeatDrawing } from "./heat.js";
import { StackDrawing } from "./stack.js";
import { Table } from "./table.js";
import { OF_COUNTS, dimensionsOf, nameOf } from "./dimensions.js";
import { openMenu } from "./menu.js";
import { fill, make, save } from "./elements.js";
import { theme } from "./plot.js";
import { asked, written } from "./words.js";
import { clock, moment, shown } from "./units.js";

// page: {metrics, buffer, changed(cards), add(question, after), remove(card), cursor(t), zoom(from, to)}
export class Card {
  constructor(page, question) {
    Object.assign(this, { page, question, drawing: null, before: null, data: null, frame: null, row: null, at: null, problem: "" });
    this.metric = page.metrics[question.metric] || { title: question.metric, kind: "stack", unit: "", by: "" };
    this.table = new Table((key) => this.choose(key));
    this.table.onsort = () => this.showTable();
    this.build();
  }

  get dim() {
    return this.question.by === "nothing" ? "" : this.question.by ?? this.metric.by;
  }

  get asked() {
    return asked(this.question);
  }

  get written() {
    return written(this.question);
  }

  build() {
    this.base = make("canvas");
    this.over = make("canvas", { tabIndex: 0 });
    this.over.setAttribute("role", "img");
    this.plot = make("div", { className: `plot ${this.metric.kind === "heat" ? "heat" : ""}` }, this.base, this.over);
    this.head = make("div", { className: "head" });
    this.readout = make("p", { className: "readout" });
    this.element = make("section", { className: "graph" }, this.head, this.plot, this.readout, this.table.element);
    this.listen();
    this.showHead();
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  // The head: what is shown, what is filtered, and the tools.
  showHead() {
    const { question, metric } = this;
    const by = this.dim && this.dim !== "phase" ? ` by ${nameOf(this.dim)}` : ""; // phases are by phase
    const over = question.over ? ` over ${shown(question.over, "ns")}` : "";
    this.title = `${metric.title}${over}${by}`;
    this.element.setAttribute("aria-label", this.title);
    fill(
      this.head,
      make("h2", { textContent: this.title }), make("span", { className: "unit", textContent: metric.unit === "ns" ? "" : metric.unit }),
      ...question.filters.map((filter, at) => this.chip(`${nameOf(filter.dim)} ${filter.not ? "\u2260" : "="} ${filter.value}`, () => question.filters.splice(at, 1))),
      question.over ? this.chip(`over ${shown(question.over, "ns")}`, () => (question.over = 0)) : null,
      question.mark ? this.chip(`highlighted: ${question.mark.value}`, () => (question.mark = null)) : null,
      question.top ? this.chip(`cut at ${shown(question.top, metric.unit)}`, () => (question.top = 0)) : null,
      this.tools(),
    );
  }

  chip(text, undo) {
    const button = make("button", { type: "button", className: "chip", textContent: `${text} \u00d7`, title: "Take away" });
    button.addEventListener("click", () => {
      undo();
      this.change();
    });
    return button;
  }

  tools() {
    const tools = make("div", { className: "tools" });
    const by = make("select", { "aria-label": `Break ${this.metric.title} down by` },
      make("option", { value: "nothing", textContent: "by nothing" }),
      ...dimensionsOf(this.question.metric).map((dim) => make("option", { value: dim, textContent: `by ${nameOf(dim)}` })));
    by.value = this.dim || "nothing";
    by.addEventListener("change", () => {
      this.question.filters = this.question.filters.filter(({ dim }) => !OF_COUNTS.includes(dim) || dim === by.value);
      this.question.by = by.value;
      this.question.mark = null;
      this.change();
    });
    tools.append(by);
    if (this.metric.kind === "heat") {
      const linear = make("button", { type: "button", textContent: this.question.linear ? "Linear colour" : "Log colour", title: "How counts become colours" });
      linear.addEventListener("click", () => {
        this.question.linear = !this.question.linear;
        this.page.changed([]);
        this.showHead();
        this.update();
      });
      tools.append(linear);
    }
    const out = make("select", { "aria-label": "Export" }, ...["Export", "PNG", "SVG", "CSV"].map((each) => make("option", { value: each, textContent: each })));
    out.addEventListener("change", () => {
      this.export(out.value);
      out.value = "Export";
    });
    const remove = make("button", { type: "button", textContent: "\u00d7", "aria-label": `Remove ${this.title}` });
    remove.addEventListener("click", () => this.page.remove(this));
    tools.append(out, remove);
    return tools;
  }

  // The question has changed: another address, other data.
  change() {
    this.row = null;
    this.showHead();
    this.page.changed([this]);
  }

  show(data, before) {
    Object.assign(this, { data, before, problem: "" });
    this.update();
  }

  fail(text) {
    this.problem = text;
    this.readout.textContent = text;
    this.readout.classList.add("problem");
  }

  update() {
    if (!this.data) return;
    const Drawing = this.metric.kind === "heat" ? HeatDrawing : StackDrawing;
    this.drawing = new Drawing(this.metric, this.question, this.data, this.before);
    this.draw();
    this.showTable();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!this.drawing || !width || !height) return;
    this.frame = this.drawing.frame(width, height);
    this.drawing.draw(new CanvasSurface(this.base, width, height), this.frame, theme());
    this.drawOver();
  }

  drawOver() {
    if (!this.frame) return;
    const surface = new CanvasSurface(this.over, this.frame.width, this.frame.height);
    const t = this.page.t;
    if (t !== null) this.drawing.drawOver(surface, this.frame, theme(), t, this.row);
    if (this.dragging && this.dragging.moved) {
      const [from, to] = [this.dragging.from, this.dragging.to].sort((a, b) => a - b);
      surface.rect(from, this.frame.top, to - from, this.frame.bottom - this.frame.top, theme().dark ? "#ffffff30" : "#0b57a430");
    }
    this.say();
  }

  // The column at the cursor; without one the newest that is known.
  place() {
    const { columns } = this.data;
    const at = this.page.t === null ? null : this.frame.columnOf(this.page.t);
    if (at !== null) return at;
    for (let place = columns.length - 1; place >= 0; place -= 1) if (columns[place] !== null) return place;
    return columns.length - 1;
  }

  say() {
    if (this.problem) return;
    this.readout.classList.remove("problem");
    const at = this.place();
    const column = this.data.columns[at];
    const before = this.before ? this.before.columns[at] : null;
    const when = this.data.begin + at * this.data.step;
    const text = this.drawing.readout(column === undefined ? null : column, before, at, this.row);
    this.readout.textContent = `${this.data.step >= 60 ? moment(when) : clock(when)}: ${text}`;
    this.over.setAttribute("aria-label", `${this.title}. ${this.readout.textContent}`);
  }

  showTable() {
    if (!this.drawing || !this.frame || (!this.dim && this.metric.kind === "heat")) {
      this.table.element.replaceChildren();
      return;
    }
    const rows = this.drawing.rows(this.data.columns[this.place()] ?? null);
    const unit = this.metric.kind === "heat" ? "commands" : this.metric.unit;
    this.table.show({ rows, unit, name: nameOf(this.dim), marked: this.question.mark && this.question.mark.value, total: this.metric.kind !== "lines", pointed: this.page.t !== null, whole: this.dim === "sense" });
  }

  // A click on a row: a heat map highlights it first; then it is shown alone, then left out.
  choose(key) {
    const { question, dim } = this;
    const mine = question.filters.find((each) => each.dim === dim && each.value === key);
    const markable = this.metric.kind === "heat" && !OF_COUNTS.includes(dim);
    if (markable && !mine && !(question.mark && question.mark.value === key)) question.mark = { dim, value: key };
    else if (!mine) {
      question.mark = null;
      question.filters = [...question.filters.filter((each) => each.dim !== dim || each.not), { dim, not: false, value: key }];
    } else mine.not = true;
    this.change();
  }

  listen() {
    const where = (event) => {
      const box = this.over.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.over.addEventListener("pointermove", (event) => {
      if (!this.frame) return;
      const [x, y] = where(event);
      if (this.dragging) {
        this.dragging.to = Math.max(this.frame.left, Math.min(this.frame.right, x));
        this.dragging.moved ||= Math.abs(x - this.dragging.from) > 6;
      }
      this.row = this.rowFrom(y);
      this.page.cursor(x < this.frame.left ? null : this.frame.timeAt(x));
    });
    this.over.addEventListener("pointerleave", () => {
      this.row = null;
      if (!this.dragging) this.page.cursor(null);
    });
    this.over.addEventListener("pointerdown", (event) => {
      const [x] = where(event);
      if (!this.frame || event.button !== 0 || event.pointerType === "touch") return;
      this.over.setPointerCapture(event.pointerId);
      this.dragging = { from: Math.max(this.frame.left, x), to: x, moved: false };
    });
    this.over.addEventListener("pointerup", () => this.drop());
    this.over.addEventListener("click", (event) => {
      if (this.dragged) return;
      const [x, y] = where(event);
      if (this.frame && x >= this.frame.left && x <= this.frame.right) openMenu(this, x, y);
    });
    this.over.addEventListener("keydown", (event) => this.key(event));
  }

  drop() {
    const drag = this.dragging;
    this.dragging = null;
    this.dragged = Boolean(drag && drag.moved);
    if (this.dragged) {
      const [from, to] = [drag.from, drag.to].sort((a, b) => a - b).map((x) => this.frame.timeAt(x));
      this.page.zoom(from, to);
    }
  }

  rowFrom(y) {
    if (this.metric.kind !== "heat" || y > this.frame.bottom || y < this.frame.top) return null;
    return Math.max(this.drawing.low, Math.min(this.drawing.high - 1, this.frame.rowAt(y)));
  }

  key(event) {
    if (!this.frame) return;
    const at = this.place();
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const climb = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (move) {
      const next = Math.max(0, Math.min(this.data.columns.length - 1, at + move));
      this.page.cursor(this.data.begin + (next + 0.5) * this.data.step);
    } else if (climb && this.metric.kind === "heat") {
      this.row = Math.max(this.drawing.low, Math.min(this.drawing.high - 1, (this.row ?? this.drawing.low) + climb));
      this.page.cursor(this.page.t ?? this.data.begin + (at + 0.5) * this.data.step);
    } else if (event.key === "Enter") {
      openMenu(this, this.frame.edge(at), this.row === null ? this.frame.top : this.frame.yEdge(this.row + 1));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  export(form) {
    if (!this.drawing || form === "Export") return;
    const name = `${this.title.replace(/\W+/g, "-").toLowerCase()}-${new Date(this.data.begin * 1000).toISOString().slice(0, 19).replace(/:/g, "")}`;
    if (form === "CSV") save(`${name}.csv`, new Blob([this.drawing.csv()], { type: "text/csv" }));
    if (form === "PNG") this.base.toBlob((blob) => save(`${name}.png`, blob));
    if (form === "SVG") {
      const surface = new SvgSurface(this.frame.width, this.frame.height);
      this.drawing.draw(surface, this.frame, theme());
      save(`${name}.svg`, new Blob([surface.toString()], { type: "image/svg+xml" }));
    }
  }
}
