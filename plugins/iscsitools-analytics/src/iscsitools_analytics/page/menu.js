// What a click in a graph offers: other questions about that point, and the commands behind it.

import { ask } from "./feed.js";
import { nameOf } from "./dimensions.js";
import { listing } from "./listing.js";
import { make } from "./elements.js";
import { copy } from "./words.js";
import { clock, commands, shown } from "./units.js";

// What can be asked about a point.
export function openMenu(card, x, y) {
  const at = card.frame.columnAt(x) ?? card.place();
  const from = card.data.begin + at * card.data.step;
  const menu = make("div", { className: "menu", role: "menu" }, make("p", { textContent: `${clock(from)}` }));
  const offer = (text, act) => {
    const button = make("button", { type: "button", textContent: text, role: "menuitem" });
    button.addEventListener("click", () => {
      close();
      act();
    });
    menu.append(button);
  };
  const close = () => {
    menu.remove();
    document.removeEventListener("pointerdown", outside, true);
  };
  const outside = (event) => menu.contains(event.target) || close();
  if (card.metric.kind === "heat") offerHeat(card, offer, at, card.rowFrom(y) ?? card.row, from);
  offer("The minute around it", () => card.page.zoom(from - 30, from + 30 + card.data.step));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      close();
      card.over.focus();
    }
    event.stopPropagation();
  });
  document.addEventListener("pointerdown", outside, true);
  menu.style.left = `${Math.max(0, Math.min(x, card.frame.width - 280))}px`;
  menu.style.top = `${Math.min(y, card.frame.height - 60)}px`;
  card.plot.append(menu);
  menu.querySelector("button").focus({ preventScroll: true });
}

function offerHeat(card, offer, at, row, from) {
  if (row === null) return;
  const [low, high, count] = card.drawing.at(at, row);
  const unit = card.metric.unit;
  const other = (metric, change) => {
    const question = copy(card.question);
    Object.assign(question, { metric, mark: null, linear: false, top: 0 });
    change(question);
    card.page.add(question, card);
  };
  if (card.question.metric === "latencies") {
    const over = Math.max(1, Math.floor(low));
    for (const dim of ["client", "lun"])
      offer(`Operations over ${shown(over, unit)} by ${nameOf(dim)}`, () => other("operations", (question) => Object.assign(question, { by: dim, over })));
  }
  if (high > low) offer(`Cut what is above ${shown(high, unit)}`, () => {
    card.question.top = high;
    card.page.changed([]);
    card.showHead();
    card.update();
  });
  if (card.page.buffer && ["latencies", "sizes", "places"].includes(card.question.metric))
    offer(`The ${commands(count)} of ${shown(low, unit)} to ${shown(high, unit)}`, () => showCommands(card, from, low, high));
}

async function showCommands(card, from, low, high) {
  card.element.querySelector(".commands")?.remove();
  const fields = { q: card.asked, from, to: from + card.data.step, low: Math.floor(low), high: Math.ceil(high) };
  try {
    const answer = await ask("/api/commands", fields);
    const title = `that ended at ${clock(from)}, ${shown(low, card.metric.unit)} to ${shown(high, card.metric.unit)}`;
    card.plot.after(listing(answer, title));
  } catch (error) {
    card.fail(error.message);
  }
}
