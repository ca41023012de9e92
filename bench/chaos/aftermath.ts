/**
 * What must hold of a session that lived through a loss (a power cut, a restore, a full disk). It may be behind, but it
 * goes on when it is spoken to, it never failed, and its log says nothing that did not happen.
 */
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { SessionEvent } from "../../contract/events.ts";
import { scripted } from "../../test/support/world.ts";
import type { Violation } from "./checks.ts";
import type { ClientPlace } from "./client.ts";
import { patience } from "./client.ts";
import { structureOf } from "./log-structure.ts";
import { type Answer, AnswerError, askPersistently, HangError, jsonOf } from "./persistent-request.ts";
import type { SessionScript } from "./script.ts";

const LOOK_AGAIN_MS = 200;

export interface AftermathInput {
  readonly place: ClientPlace;
  readonly script: SessionScript;
  readonly effectsFile: string;
  /** Whether its making was ever answered. */
  readonly wasMade: boolean;
  /** What has been asked of it before, and may be remembered: it comes at any time. */
  readonly asked: { close: boolean };
  /** The losses of the store that there had been when the session began. */
  readonly storeLossesBefore: number;
}

/** Speaks to the session until no further loss comes between, closes it, and checks what is left of it. */
export async function checkAftermath(input: AftermathInput): Promise<readonly Violation[]> {
  const { weather } = input.place;
  for (let round = 0; ; round++) {
    const losses = weather.losses;
    try {
      return await new Aftermath(input, round).check();
    } catch (error) {
      if (weather.losses !== losses) continue;
      const rule = error instanceof Error ? `after a loss: ${error.name}` : "after a loss";
      return [{ session: input.script.token, rule, detail: error instanceof Error ? error.message : String(error) }];
    }
  }
}

class Aftermath {
  readonly #input: AftermathInput;
  readonly #round: number;

  constructor(input: AftermathInput, round: number) {
    this.#input = input;
    this.#round = round;
  }

  async check(): Promise<readonly Violation[]> {
    const { script, place, storeLossesBefore, wasMade, asked } = this.#input;
    const found = await this.#ask("GET", "", undefined, [404]);
    if (found.status === 404) {
      const isBehind = !wasMade || place.weather.storeLosses > storeLossesBefore;
      return isBehind ? [] : this.#violations("no session is forgotten", ["it is not there any more"]);
    }
    const { status } = jsonOf(found) as { readonly status: string };
    if (status !== "closed") {
      if (!asked.close) await this.#speak();
      asked.close = true;
      await this.#ask("POST", "/close", {});
    }
    const log = await this.#logUntil("session.closed", (event) => event.type === "session.closed");
    const wrong = log.findIndex((event, index) => event.seq !== index + 1);
    return [
      ...this.#violations(
        "the log is 1, 2, 3 …",
        wrong < 0 ? [] : [`at place ${wrong + 1} stands seq ${log[wrong]?.seq}`],
      ),
      ...this.#violations("the log tells a possible story", structureOf(log, script.token).faults),
      ...this.#violations("no turn fails", failures(log)),
      ...this.#violations("nothing untrue is told", untruths(log, this.#effects())),
    ];
  }

  /** One more message, which stops whatever runs: its turn has to complete. */
  async #speak(): Promise<void> {
    const id = `${this.#input.script.token}-after-${this.#round}-${this.#input.place.weather.losses}`;
    const content = scripted({ text: "It goes on." });
    await this.#ask("POST", "/messages", { id, content, mode: "interrupt" });
    const log = await this.#logUntil(`the turn of ${id} completes`, (event, before) => {
      const turn = before.find((started) => started.type === "turn.started" && started.messageId === id);
      const turnId = turn?.type === "turn.started" ? turn.turnId : undefined;
      return (
        turnId !== undefined &&
        "turnId" in event &&
        event.turnId === turnId &&
        event.type.startsWith("turn.") &&
        event.type !== "turn.started"
      );
    });
    const end = log.findLast(
      (event) => event.type === "turn.completed" || event.type === "turn.interrupted" || event.type === "turn.failed",
    );
    if (end?.type !== "turn.completed") throw new AnswerError(`the turn of ${id} ended as ${JSON.stringify(end)}`);
  }

  /** The log up to and with the first event that fits. */
  async #logUntil(
    what: string,
    fits: (event: SessionEvent, log: readonly SessionEvent[]) => boolean,
  ): Promise<readonly SessionEvent[]> {
    const { weather } = this.#input.place;
    const until = patience(weather);
    for (const log: SessionEvent[] = []; ; ) {
      const after = log.at(-1)?.seq ?? 0;
      const page = jsonOf(await this.#ask("GET", `/events?after=${after}&limit=500`)) as { events: SessionEvent[] };
      for (const event of page.events) {
        log.push(event);
        if (fits(event, log)) return log;
      }
      if (Date.now() > until.at())
        throw new HangError(
          `waited in vain until ${what}; the last events: ${JSON.stringify(log.slice(-3)).slice(0, 900)}`,
        );
      if (page.events.length === 0) await delay(LOOK_AGAIN_MS);
    }
  }

  async #ask(method: string, route: string, body?: unknown, accepts: readonly number[] = []): Promise<Answer> {
    const { world, weather } = this.#input.place;
    const url = `${world.url}/v1/sessions/${this.#input.script.token}${route}`;
    const request = { method, url, headers: world.headers, accepts, ...(body !== undefined && { body }) };
    const answer = await askPersistently(request, patience(weather));
    if (!answer) throw new Error("a request without a signal was ended by one");
    return answer;
  }

  #effects(): ReadonlySet<string> {
    const { effectsFile } = this.#input;
    return new Set(existsSync(effectsFile) ? readFileSync(effectsFile, "utf8").split("\n") : []);
  }

  #violations(rule: string, details: readonly string[]): readonly Violation[] {
    return details.map((detail) => ({ session: this.#input.script.token, rule: `after a loss: ${rule}`, detail }));
  }
}

function failures(log: readonly SessionEvent[]): readonly string[] {
  return log.filter((event) => event.type === "turn.failed").map((event) => JSON.stringify(event).slice(0, 500));
}

/** Commands that are said to have ended well and left no effect, and commands that are said to be stopped in a turn that was not. */
function untruths(log: readonly SessionEvent[], effects: ReadonlySet<string>): readonly string[] {
  const stopped = new Set(log.flatMap((event) => (event.type === "turn.interrupted" ? [event.turnId] : [])));
  const commands = new Map<string, string>();
  return log.flatMap((event) => {
    if (event.type === "tool.started" && event.name === "bash")
      commands.set(event.callId, JSON.stringify(event.arguments));
    if (event.type !== "tool.completed" || event.name !== "bash") return [];
    if (event.outcome === "interrupted" && !stopped.has(event.turnId))
      return [
        `${event.callId} is said to be interrupted, in a turn that nobody stopped: ${event.result.slice(0, 200)}`,
      ];
    const label = /echo (\S+) >>/.exec(commands.get(event.callId) ?? "")?.[1];
    return event.outcome === "ok" && label !== undefined && !effects.has(label)
      ? [`${label} is said to have run, and left nothing`]
      : [];
  });
}
