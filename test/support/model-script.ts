/** The script language of the model endpoint: finds the script in a request's body and says which of its steps comes next. */

/** What one model turn answers. All fields are optional; an empty step is an empty reply. */
export interface ScriptStep {
  readonly text?: string;
  readonly think?: string;
  readonly tools?: readonly { readonly name: string; readonly args?: unknown; readonly rawArgs?: string }[];
  readonly refusal?: string;
  /** Pace: so long after each piece. 0 or nothing: the whole reply at once. */
  readonly gapMs?: number;
  /** Before the headers. */
  readonly waitMs?: number;
  /** The stream stays open after the text, without an end. */
  readonly stall?: boolean;
  /** The socket is destroyed after the text. */
  readonly cut?: boolean;
  /** The stream ends cleanly after the text, without its last event. */
  readonly eofNoEnd?: boolean;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** With `status`: an object is sent as JSON, a string as it is. */
  readonly body?: unknown;
  /** Ends with `response.incomplete` and this reason (Chat: as finish_reason). */
  readonly incomplete?: string;
  readonly failed?: { readonly code: string; readonly message: string };
  readonly errorEvent?: { readonly code: string | null; readonly message: string; readonly type?: string };
  readonly usage?: {
    readonly in?: number;
    readonly out?: number;
    readonly cached?: number;
    readonly reasoning?: number;
  };
  /** Chat: another finish_reason. */
  readonly finish?: string;
  /** This step, so often. */
  readonly times?: number;
  /** This status for the first `times` requests of the step, and then the step itself. */
  readonly fails?: {
    readonly status: number;
    readonly times: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: unknown;
  };
}

/** Where a conversation stands: its script (if any), the number of model turns since, and a key for counters. */
export interface Place {
  readonly steps: readonly ScriptStep[] | undefined;
  readonly turn: number;
  readonly key: string;
}

const OPEN = Buffer.from("@@SCRIPT[");
const CLOSE = Buffer.from("]@@");
const USER = Buffer.from('"role":"user"');
const OTHERS = ['"role":"assistant"', '"role":"tool"', '"type":"function_call', '"type":"reasoning"'].map(toBuffer);
const MODEL_MARKS = ['"role":"assistant"', '"type":"function_call"', '"type":"reasoning"'].map(toBuffer);
const OUR_MARKS = ['"type":"function_call_output"', '"role":"tool"', '"role":"user"'].map(toBuffer);
const SCRIPTS_REMEMBERED = 64;
const WALKS_REMEMBERED = 256;
const TAIL_BYTES = 160;

function toBuffer(text: string): Buffer {
  return Buffer.from(text);
}

/**
 * Finds places in raw bodies. It reads the bytes and does not parse them, because a body of a megabyte must cost no
 * more than a fraction of a millisecond. A quote inside a JSON string is escaped, so `"role":"user"` is never text.
 * That holds for bodies without white space between tokens, as every JSON writer for the wire makes them.
 */
export class ScriptReader {
  readonly #turns = new TurnCounter();
  readonly #parsed = new Map<string, readonly ScriptStep[]>();

  /** Throws a plain Error in words when there is a script that cannot be read. */
  place(body: Buffer, standing: readonly ScriptStep[] | undefined): Place {
    const at = lastScript(body);
    if (at < 0) {
      const user = body.lastIndexOf(USER);
      return { steps: standing, turn: this.#turns.after(body, Math.max(user, 0)), key: "standing" };
    }
    const end = body.indexOf(CLOSE, at);
    if (end < 0) throw new Error("found @@SCRIPT[ without its ]@@");
    const raw = body.toString("utf8", at + OPEN.length - 1, end + 1);
    return { steps: this.#parse(raw), turn: this.#turns.after(body, end), key: raw };
  }

  #parse(raw: string): readonly ScriptStep[] {
    const known = this.#parsed.get(raw);
    if (known !== undefined) return known;
    let steps: readonly ScriptStep[];
    try {
      steps = JSON.parse(JSON.parse(`"${raw}"`) as string) as readonly ScriptStep[];
    } catch (cause) {
      throw new Error(`the script is not valid JSON: ${raw.slice(0, 200)}`, { cause });
    }
    for (const oldest of this.#parsed.keys()) {
      if (this.#parsed.size < SCRIPTS_REMEMBERED) break;
      this.#parsed.delete(oldest);
    }
    this.#parsed.set(raw, steps);
    return steps;
  }
}

/** The step at a turn, each repeated as its `times` says. */
export function stepAt(steps: readonly ScriptStep[], turn: number): ScriptStep | undefined {
  let left = turn;
  for (const step of steps) {
    left -= Math.max(1, step.times ?? 1);
    if (left < 0) return step;
  }
  return undefined;
}

/** The newest script in a user's text. What a tool printed or a model wrote does not count. */
function lastScript(body: Buffer): number {
  let at = body.lastIndexOf(OPEN);
  while (at >= 0) {
    const from = at;
    const user = body.lastIndexOf(USER, from);
    if (user >= 0 && OTHERS.every((mark) => body.subarray(user, from).indexOf(mark) < 0)) return at;
    if (at === 0) return -1;
    at = body.lastIndexOf(OPEN, at - 1);
  }
  return -1;
}

/** How far a conversation has been walked through: up to here there are so many turns, and these bytes come before. */
interface Walk {
  readonly at: number;
  readonly turns: number;
  readonly tail: Buffer;
}

/**
 * Counts model turns; neighbouring pieces of the model's are one turn. A conversation only grows, and a walk through a
 * megabyte costs milliseconds: so a walk goes on from where the one before it stopped, when the bytes before that
 * place (which hold the random id of a call) are the same. Without such a place it begins at the script.
 */
class TurnCounter {
  readonly #walks: Walk[] = [];

  after(body: Buffer, from: number): number {
    let known: Walk | undefined;
    for (const walk of this.#walks) {
      if (walk.at <= (known?.at ?? from) || walk.at > body.length) continue;
      if (walk.tail.compare(body, walk.at - walk.tail.length, walk.at) === 0) known = walk;
    }
    const start = { at: known?.at ?? from, turns: known?.turns ?? 0 };
    const { at, turns, total } = walkOn(body, start);
    if (at > start.at) {
      if (known !== undefined) this.#walks.splice(this.#walks.indexOf(known), 1);
      const tail = Buffer.from(body.subarray(Math.max(from, at - TAIL_BYTES), at));
      if (this.#walks.push({ at, turns, tail }) > WALKS_REMEMBERED) this.#walks.shift();
    }
    return total;
  }
}

/** Walks to the end; tells the last place that begins something of ours, the turns up to there, and all turns. */
function walkOn(body: Buffer, start: { at: number; turns: number }): { at: number; turns: number; total: number } {
  // Each mark remembers its next place, so that each of them walks through the rest once only.
  const models = MODEL_MARKS.map(() => -1);
  const ours = OUR_MARKS.map(() => -1);
  let { at, turns } = start;
  for (;;) {
    const model = nearest(body, { places: models, marks: MODEL_MARKS, from: at });
    if (model === Number.POSITIVE_INFINITY) return { at, turns, total: turns };
    const our = nearest(body, { places: ours, marks: OUR_MARKS, from: model });
    if (our === Number.POSITIVE_INFINITY) return { at, turns, total: turns + 1 };
    turns++;
    at = our;
  }
}

interface Search {
  readonly places: number[];
  readonly marks: readonly Buffer[];
  readonly from: number;
}

function nearest(body: Buffer, { places, marks, from }: Search): number {
  for (const [i, mark] of marks.entries()) {
    if ((places[i] ?? -1) >= from) continue;
    const found = body.indexOf(mark, from);
    places[i] = found < 0 ? Number.POSITIVE_INFINITY : found;
  }
  return Math.min(...places);
}
