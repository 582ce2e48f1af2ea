// Numbers and times as people read them.

const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function figures(value) {
  const size = Math.abs(value);
  return size >= 100 || Number.isInteger(value) ? String(Math.round(value)) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const scaled = (value, base, names) => {
  let place = 0;
  while (Math.abs(value) >= base && place < names.length - 1) [value, place] = [value / base, place + 1];
  return `${figures(value)}${names[place] ? ` ${names[place]}` : ""}`;
};

// A value with its unit: "ns" become us, ms or s.
export function shown(value, unit) {
  if (unit === "ns") return scaled(value, 1000, ["ns", "us", "ms", "s"]);
  if (unit.startsWith("bytes")) return scaled(value, 1024, IEC) + (unit.endsWith("second") ? "/s" : "");
  if (unit === "blocks") return scaled(value, 1000, ["", "k", "M", "G", "T"]);
  return scaled(value, 1000, ["", "k", "M", "G"]);
}

export const commands = (count) => `${count} ${count === 1 ? "command" : "commands"}`;

const two = (number) => String(number).padStart(2, "0");

export function clock(t, seconds = true) {
  const at = new Date(t * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}${seconds ? `:${two(at.getSeconds())}` : ""}`;
}

export function moment(t) {
  const at = new Date(t * 1000);
  return `${DAYS[at.getDay()]} ${at.getDate()} ${MONTHS[at.getMonth()]} ${clock(t)}`;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];

// Times for the axis, at whole steps of local time, with their labels; at most so many.
export function times(begin, end, most) {
  const step = STEPS.find((each) => (end - begin) / each <= most) || STEPS[STEPS.length - 1];
  const zone = -new Date(begin * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let t = Math.ceil((begin + zone) / step) * step - zone; t <= end; t += step) {
    const at = new Date(t * 1000);
    const label = step >= 86400 || (step >= 3600 && at.getHours() === 0)
      ? `${at.getDate()} ${MONTHS[at.getMonth()]}` : clock(t, step < 60);
    found.push([t, label]);
  }
  return found;
}

// Round values for an axis from 0 to the largest, at most so many steps.
export function levels(largest, most, unit) {
  if (!(largest > 0)) return [0];
  const base = unit.startsWith("bytes") ? 1024 : 10;
  let step = base ** Math.floor(Math.log(largest / most) / Math.log(base));
  const factors = base === 10 ? [1, 2, 5, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  step *= factors.find((factor) => largest / (step * factor) <= most) || factors[factors.length - 1];
  return Array.from({ length: Math.floor(largest / step) + 1 }, (_, place) => place * step);
}

export const SPANS = [
  [60, "1 min"], [300, "5 min"], [900, "15 min"], [3600, "1 hour"], [6 * 3600, "6 hours"], [86400, "1 day"],
  [7 * 86400, "1 week"], [30 * 86400, "30 days"], [365 * 86400, "1 year"],
];
