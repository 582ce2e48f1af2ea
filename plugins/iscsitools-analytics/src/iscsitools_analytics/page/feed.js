// What comes from the server: answers to questions, and the stream of the seconds as they end.

export class Refused extends Error {}

export async function ask(path, fields = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(fields)}`);
  if (!answer.ok) throw new Refused((await answer.text()).trim() || `the server says ${answer.status}`);
  return answer.json();
}

export const history = (question, from, to, columns) =>
  ask("/api/history", { q: question, from: String(from), to: String(to), columns: String(columns) });

// The token of a link is handed in once, for a cookie that scripts cannot read.
export async function enter(token) {
  const answer = await fetch("/api/enter", { method: "POST", body: token });
  return answer.ok;
}

// One stream for all graphs of this tab: browsers allow six connections to one host.
export class Stream {
  constructor(heard, state) {
    Object.assign(this, { heard, state, source: null, questions: "" });
  }

  follow(questions) {
    const wanted = new URLSearchParams([...new Set(questions)].sort().map((each) => ["q", each])).toString();
    if (this.source && wanted === this.questions) return;
    this.stop();
    this.questions = wanted;
    this.source = new EventSource(`/api/live?${wanted}`);
    this.source.onmessage = (event) => this.heard(JSON.parse(event.data));
    this.source.onopen = () => this.state(true);
    this.source.onerror = () => {
      this.state(false);
      // A browser comes back by itself after a loss, but not after an answer that is none.
      if (this.source && this.source.readyState === EventSource.CLOSED) {
        this.source = null;
        setTimeout(() => this.source || this.again(), 2000);
      }
    };
  }

  again() {
    const questions = new URLSearchParams(this.questions).getAll("q");
    this.follow(questions);
  }

  stop() {
    if (this.source) this.source.close();
    this.source = null;
  }
}
