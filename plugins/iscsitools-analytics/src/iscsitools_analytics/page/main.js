// The page: which graphs there are, which time they show, and the address that says both.

import { Card } from "./card.js";
import { dimensionsOf, nameOf } from "./dimensions.js";
import { Stream, ask, enter, history } from "./feed.js";
import { make } from "./elements.js";
import { parse, readAddress, writeAddress } from "./words.js";
import { SPANS, moment } from "./units.js";

const FIRST = ["latencies by:client", "operations by:client", "bytes by:lun"];
const DAY = 86400;
const MOST_COLUMNS = 300;
const byId = (id) => document.getElementById(id);

class Page {
  constructor(about, state) {
    this.metrics = about.metrics;
    this.buffer = about.buffer !== false;
    this.about = about;
    this.recorded = about.ends;
    Object.assign(this, { span: state.span, end: state.end, compare: state.compare, cards: [], names: null, t: null, now: Math.floor(about.now), asking: new Map() });
    if (this.recorded && this.end === null) this.end = this.now;
    this.stream = new Stream((told) => this.heard(told), (there) => this.connected(there));
    for (const text of state.graphs.length ? state.graphs : FIRST) this.cards.push(new Card(this, parse(text)));
    this.controls();
    this.changed();
    if (this.recorded) byId("status").textContent = `a recording, until ${moment(this.now)}`;
  }

  get live() {
    return this.end === null;
  }

  get until() {
    return this.live ? this.now : this.end;
  }

  controls() {
    for (const [seconds, text] of SPANS) byId("span").append(make("option", { value: seconds, textContent: text }));
    const metric = byId("metric");
    for (const [name, { title }] of Object.entries(this.metrics)) metric.append(make("option", { value: name, textContent: title }));
    const showBy = () => {
      const names = ["", ...dimensionsOf(metric.value)];
      byId("by").replaceChildren(...names.map((dim) => make("option", { value: dim || "nothing", textContent: nameOf(dim) })));
      byId("by").value = this.metrics[metric.value].by || "client";
    };
    metric.addEventListener("change", showBy);
    showBy();
    byId("add").addEventListener("submit", (event) => {
      event.preventDefault();
      this.add(parse(`${metric.value} by:${byId("by").value}`), null);
    });
    const press = { pause: () => this.pause(), back: () => this.move(-1), forward: () => this.move(1), in: () => this.scale(0.5), out: () => this.scale(2), theme: () => this.turn() };
    for (const [id, act] of Object.entries(press)) byId(id).addEventListener("click", act);
    byId("span").addEventListener("change", () => this.go(Number(byId("span").value), this.end));
    byId("compare").addEventListener("change", () => {
      this.compare = byId("compare").checked;
      this.changed();
    });
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("hashchange", () => this.readAgain());
  }

  key(event) {
    const field = event.target.closest("input, select, textarea, button") && [" ", "Enter"].includes(event.key);
    if (field || event.target.closest("select") || event.ctrlKey || event.altKey || event.metaKey) return;
    const act = {
      " ": () => this.pause(), ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1), "+": () => this.scale(0.5),
      "-": () => this.scale(2), c: () => byId("compare").click(), t: () => this.turn(), a: () => byId("metric").focus(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // Time.
  go(span, end) {
    this.span = Math.max(10, Math.min(span, 366 * DAY));
    this.end = end === null ? null : Math.round(end);
    if (this.end !== null && !this.recorded && this.end > this.now) this.end = null;
    if (this.end !== null && this.recorded && this.end > this.now) this.end = this.now;
    this.changed();
  }

  pause() {
    if (!this.recorded) this.go(this.span, this.live ? this.now : null);
  }

  move(direction) {
    this.go(this.span, this.until + (direction * this.span) / 2);
  }

  scale(factor) {
    this.go(Math.round(this.span * factor), this.live ? null : this.end + ((factor - 1) * this.span) / 2);
  }

  zoom(from, to) {
    this.go(Math.round(Math.max(10, to - from)), Math.max(from + 10, to));
  }

  turn() {
    const dark = document.documentElement.dataset.theme !== "dark";
    setTheme(dark);
    localStorage.setItem("iscsitools-theme", dark ? "dark" : "light");
    this.cards.forEach((card) => card.update());
  }

  cursor(t) {
    this.t = t;
    for (const card of this.cards) {
      card.drawOver();
      card.showTable();
    }
  }

  // Graphs.
  add(question, after) {
    const card = new Card(this, question);
    this.cards.splice(after ? this.cards.indexOf(after) + 1 : this.cards.length, 0, card);
    this.changed([card]);
    card.element.scrollIntoView({ block: "nearest" });
  }

  remove(card) {
    this.cards = this.cards.filter((each) => each !== card);
    this.changed([]);
  }

  // Something has changed: the address says it, and what the cards show is asked for again.
  changed(cards = this.cards) {
    const address = writeAddress({ graphs: this.cards.map((card) => card.written), span: this.span, end: this.recorded && this.end === this.now ? null : this.end, compare: this.compare });
    this.address = address;
    window.history.replaceState(null, "", address);
    byId("rows").replaceChildren(...(this.cards.length ? this.cards.map((card) => card.element) : [make("p", { className: "empty", textContent: "No graph is shown: add one above." })]));
    byId("pause").textContent = this.live ? "Pause" : "Live";
    byId("pause").setAttribute("aria-pressed", String(!this.live));
    byId("pause").disabled = this.recorded;
    byId("compare").checked = this.compare;
    const known = SPANS.some(([seconds]) => seconds === this.span);
    byId("span").querySelector(".own")?.remove();
    if (!known) byId("span").append(make("option", { className: "own", value: this.span, textContent: this.span < 120 ? `${this.span} s` : `${Math.round(this.span / 6) / 10} min` }));
    byId("span").value = String(this.span);
    if (this.names) this.attached(this.names);
    for (const card of cards) this.fetch(card);
    // Also while time stands still: the stream says who is attached, and the clock goes on.
    if (!this.recorded) this.stream.follow(this.live ? this.cards.map((card) => card.asked) : []);
  }

  readAgain() {
    if (location.hash === this.address) return;
    const state = readAddress(location.hash);
    this.cards = state.graphs.map((text) => new Card(this, parse(text)));
    this.compare = state.compare;
    this.go(state.span, state.end);
  }

  async fetch(card) {
    const wanted = card.asked;
    const turn = (this.asking.get(card) || 0) + 1;
    this.asking.set(card, turn);
    const end = this.until;
    try {
      const asks = [history(wanted, end - this.span, end, MOST_COLUMNS)];
      if (this.compare) asks.push(history(wanted, end - this.span - DAY, end - DAY, MOST_COLUMNS));
      const [data, before] = await Promise.all(asks);
      if (this.asking.get(card) !== turn) return;
      card.show(data, before && aligned(before, data));
    } catch (error) {
      if (this.asking.get(card) === turn) card.fail(error.message);
    }
  }

  // A second has ended.
  heard({ t, attached, columns }) {
    this.now = t + 1;
    this.attached(attached);
    if (!this.live) return;
    for (const card of this.cards) {
      if (!card.data) continue;
      if (card.data.step === 1 && columns[card.asked]) this.append(card, columns[card.asked]);
      else if (card.data.step > 1 && t % Math.max(card.data.step, 5) === 0) this.fetch(card);
    }
  }

  append(card, seconds) {
    const { data } = card;
    for (const [second, column] of seconds) {
      const at = second - data.begin;
      if (at < 0) continue;
      if (at > data.columns.length + 5) {
        this.fetch(card); // this page slept: the seconds in between are in the history
        return;
      }
      while (data.columns.length < at) data.columns.push(null);
      if (column !== null || data.columns[at] === undefined) data.columns[at] = column;
    }
    const extra = data.columns.length - this.span;
    if (extra > 0) {
      data.columns.splice(0, extra);
      data.begin += extra;
      if (card.before && this.compare) this.fetch(card);
    }
    card.update();
  }

  // That no server runs is bad news for who looks at now, and no news for who looks at a history.
  attached(names) {
    this.names = names;
    const status = byId("status");
    const nobody = this.live ? "no server runs that may be watched" : "the history of before; no server runs now";
    status.textContent = names.length ? `attached to ${names.join(", ")}` : nobody;
    status.className = names.length || !this.live ? "" : "bad";
  }

  connected(there) {
    if (there) return;
    this.names = null;
    byId("status").textContent = "iscsitools analytics does not answer; trying again";
    byId("status").className = "bad";
  }
}

// The day before, column by column as the day itself.
function aligned(before, data) {
  if (before.step === data.step) return before;
  const columns = data.columns.map((_, at) => before.columns[Math.floor((at * data.step) / before.step)] ?? null);
  return { begin: before.begin, step: data.step, columns };
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
}

async function begin() {
  const chosen = localStorage.getItem("iscsitools-theme");
  setTheme(chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const state = readAddress(location.hash);
  if (state.token) {
    // What is sent to a colleague has the state and not the token.
    await enter(state.token);
    window.history.replaceState(null, "", writeAddress(state));
  }
  try {
    window.page = new Page(await ask("/api/about"), state);
  } catch (error) {
    byId("status").textContent = error.message;
    byId("status").className = "bad";
  }
}

begin();
