// Colours that the colour-blind tell apart: viridis for counts (by Stefan van der Walt and Nathaniel Smith, CC0); for
// keys six of Okabe and Ito, a brown and a violet. tests/test_palette.py looks at them with their eyes.

const VIRIDIS = ["#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c",
  "#1fa088", "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725"];
const KEYS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a5a2b", "#9955ff"];
export const REST = "#8c8c94";
export const MOST_KEYS = KEYS.length;

const parts = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

function between(low, high, share) {
  const [from, to] = [parts(low), parts(high)];
  return `#${from.map((part, at) => Math.round(part + (to[at] - part) * share).toString(16).padStart(2, "0")).join("")}`;
}

function viridis(share) {
  const at = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1);
  const place = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return between(VIRIDIS[place], VIRIDIS[place + 1], at - place);
}

// The colour of a cell: the end of the scale that is near the background is cut, so that a single command is seen.
export function colourOf(count, most, linear, dark) {
  const share = most <= 1 ? 1 : linear ? count / most : Math.log(count) / Math.log(most);
  return dark ? viridis(0.3 + 0.7 * share) : viridis(0.78 * (1 - share));
}

// The same in grey, for what lies under a highlight.
export function greyOf(count, most, linear, dark) {
  const share = most <= 1 ? 1 : linear ? count / most : Math.log(count) / Math.log(most);
  return dark ? between("#33363e", "#70747f", share) : between("#dcdee4", "#9a9eaa", share);
}

// One colour for a key, wherever it is shown. Those that come first have one of their own.
const given = new Map();
export function keyColour(dim, key) {
  const name = `${dim} ${key}`;
  if (!given.has(name)) given.set(name, KEYS[[...given.keys()].filter((each) => each.startsWith(`${dim} `)).length % KEYS.length]);
  return given.get(name);
}
