// The commands that made a point of a heat map, each with its events.

import { make } from "./elements.js";
import { clock, commands, shown } from "./units.js";

const HEADS = ["ended", "client", "LUN", "command", "LBA", "latency", "backstore, waiting, sending", "result"];

export function listing(answer, title) {
  const close = make("button", { type: "button", textContent: "Close" });
  const since = answer.since ? `, kept since ${clock(answer.since)}` : "";
  const lost = answer.drops ? `; ${answer.drops} events were lost` : "";
  const more = answer.found > answer.commands.length ? `, the ${answer.commands.length} longest` : "";
  const element = make(
    "section", { className: "commands", "aria-label": "Commands" },
    make("p", {}, `${commands(answer.found)} ${title}${more}${since}${lost} `, close),
    make("div", { className: "scroll" }, make("table", {},
      make("thead", {}, make("tr", {}, ...HEADS.map((head) => make("th", { textContent: head, scope: "col" })))),
      make("tbody", {}, ...answer.commands.map(row)))),
  );
  close.addEventListener("click", () => element.remove());
  return element;
}

function row(command) {
  const time = (value) => shown(value, "ns");
  const events = make("details", {}, make("summary", { textContent: command.command }),
    make("ol", {}, ...command.events.map(([after, label, detail]) => make("li", { textContent: `${time(after)} ${label} ${detail}` }))),
    make("p", { textContent: `CDB ${command.cdb}` }));
  const place = command.lba === null ? "" : `${command.lba}+${command.blocks}`;
  const cells = [
    `${clock(command.end)}.${String(Math.floor((command.end % 1) * 1000)).padStart(3, "0")}`, command.client, command.lun.split("/").pop(), events, place,
    time(command.latency), [command.backstore, command.waiting, command.sending].map(time).join(", "), command.result,
  ];
  return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
}
