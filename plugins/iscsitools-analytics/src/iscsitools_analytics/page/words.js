// A question as text: what stands in the address, and what the server is asked. docs/analytics.md has the words.

const quote = (value) => encodeURIComponent(value).replace(/%2F/g, "/").replace(/%3A/g, ":");

// {metric, by, filters: [{dim, not, value}], over, mark: {dim, value} | null, linear, top}
export function parse(text) {
  const [metric, ...words] = text.trim().split(/\s+/);
  const question = { metric, by: null, filters: [], over: 0, mark: null, linear: false, top: 0 };
  for (const word of words) {
    const filter = /^(\w+)(!?)=(.*)$/.exec(word);
    if (word.startsWith("by:")) question.by = word.slice(3);
    else if (word.startsWith("over:")) question.over = Number(word.slice(5)) || 0;
    else if (word.startsWith("mark:")) {
      const [dim, value] = word.slice(5).split(/=(.*)/s);
      question.mark = { dim, value: unquoted(value || "") };
    } else if (word === "colour:linear") question.linear = true;
    else if (word.startsWith("top:")) question.top = Number(word.slice(4)) || 0;
    else if (filter) question.filters.push({ dim: filter[1], not: filter[2] === "!", value: unquoted(filter[3]) });
  }
  return question;
}

function unquoted(value) {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

// What the server is asked: without the words that only say how it looks.
export function asked(question) {
  const words = [question.metric];
  if (question.by !== null) words.push(`by:${question.by}`);
  for (const { dim, not, value } of question.filters) words.push(`${dim}${not ? "!" : ""}=${quote(value)}`);
  if (question.over) words.push(`over:${question.over}`);
  if (question.mark) words.push(`mark:${question.mark.dim}=${quote(question.mark.value)}`);
  return words.join(" ");
}

export function written(question) {
  const looks = [];
  if (question.linear) looks.push("colour:linear");
  if (question.top) looks.push(`top:${question.top}`);
  return [asked(question), ...looks].join(" ");
}

export const copy = (question) => parse(written(question));

// The page's state, in the address behind "#": g (once for each graph), span, end (absent: live), compare.
export function readAddress(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    graphs: fields.getAll("g"),
    span: Number(fields.get("span")) || 300,
    end: Number(fields.get("end")) || null,
    compare: fields.get("compare") === "1",
    token: fields.get("token"),
  };
}

export function writeAddress(state) {
  const fields = new URLSearchParams();
  for (const graph of state.graphs) fields.append("g", graph);
  fields.set("span", String(state.span));
  if (state.end !== null) fields.set("end", String(state.end));
  if (state.compare) fields.set("compare", "1");
  return `#${fields}`;
}
