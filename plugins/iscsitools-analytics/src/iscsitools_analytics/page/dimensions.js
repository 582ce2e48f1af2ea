// What a question can be broken down by, and how that is called.

const NAMES = {
  "": "nothing", server: "server", client: "client", initiator: "initiator", target: "target", lun: "LUN",
  operation: "operation", command: "command", size: "size", sense: "sense", hour: "hour of the day",
};
export const OF_COUNTS = ["size", "sense", "phase", "hour"];
export const nameOf = (dim) => NAMES[dim] ?? dim;

// What a metric can be broken down by.
export function dimensionsOf(name) {
  if (name === "phases") return ["phase"];
  const series = ["client", "initiator", "target", "lun", "operation", "command", "server"];
  if (name === "operations") series.push("size");
  if (name === "errors" || name === "logins") series.push("sense");
  return [...series, "hour"];
}
