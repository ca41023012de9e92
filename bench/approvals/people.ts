/** The people who decide: each approval as it is planned, in the middle of the kills, and what they are answered. */
import { setTimeout as delay } from "node:timers/promises";
import type { SessionEventOf } from "../../contract/events.ts";
import type { ApprovalDecision } from "../../contract/waits.ts";
import type { ChaosClient } from "../chaos/client.ts";
import { jsonOf } from "../chaos/persistent-request.ts";
import { commandOf, editedLabel, type PlannedAsk, type SessionPlan } from "./plan.ts";

/** One decision that was posted, and its answer. */
export interface Post {
  readonly label: string;
  readonly role: "first" | "repeat" | "twin" | "race" | "contradict" | "late" | "misdirected";
  readonly decision: "approve" | "deny";
  readonly status: number;
  /** What the answer says that stands. */
  readonly stands: ApprovalDecision | undefined;
  readonly code: string | undefined;
  /** The process that was killed at the instant of the post. */
  readonly atKillOf: string | undefined;
  /** Times that it was sent in vain, because nobody was there to take it. */
  readonly failures: number;
}

/** What the people know of the storm. */
export interface Outside {
  /** Resolves when enough has been killed for one decision more. */
  admit(): Promise<void>;
  /** Resolves at the next kill of that process, at once; or when nothing is killed any more. */
  killOf(name: string): Promise<void>;
  /** A call of another session, which nobody may decide through this one. */
  strangersCall(of: string): string | undefined;
}

type Asked = SessionEventOf<"approval.requested">;
type Body = Readonly<Record<string, unknown>> & { readonly decision: "approve" | "deny" };

export class People {
  readonly posts: Post[] = [];
  readonly #client: ChaosClient;
  readonly #plan: SessionPlan;
  readonly #outside: Outside;

  constructor(client: ChaosClient, plan: SessionPlan, outside: Outside) {
    this.#client = client;
    this.#plan = plan;
    this.#outside = outside;
  }

  async decide(ask: PlannedAsk): Promise<void> {
    const asked = await this.#asked(ask.label);
    if (this.#plan.timeoutMs === undefined) await this.#outside.admit();
    await delay(ask.afterMs);
    if (ask.atKillOf !== undefined) await this.#outside.killOf(ask.atKillOf);
    if (ask.besides === "misdirect") await this.#misdirect(ask, asked);
    switch (ask.plan) {
      case "expire":
        return await this.#comeTooLate(ask, asked);
      case "brink":
        await delay(Math.max(0, asked.deadline - Date.now()));
        return await this.#say(ask, asked, { decision: "approve" });
      case "race":
        await Promise.all([
          this.#post(ask, asked, { role: "race", body: { decision: "approve" }, key: "race-a" }),
          this.#post(ask, asked, { role: "race", body: { decision: "deny" }, key: "race-d" }),
        ]);
        return;
      case "approve":
        return await this.#say(ask, asked, { decision: "approve", argumentsHash: asked.argumentsHash });
      case "deny":
        return await this.#say(ask, asked, { decision: "deny", reason: `${ask.label} must not be` });
      case "edit": {
        const command = commandOf(this.#plan, editedLabel(ask.label));
        return await this.#say(ask, asked, { decision: "approve", arguments: { command } });
      }
    }
  }

  async #asked(label: string): Promise<Asked> {
    const isIt = (event: Asked): boolean => JSON.stringify(event.arguments).includes(`${label};`);
    return await this.#client.until(`${label} is asked about`, () =>
      this.#client.reader.ofType("approval.requested").find(isIt),
    );
  }

  /** Posts the decision, and what is posted besides. */
  async #say(ask: PlannedAsk, asked: Asked, body: Body): Promise<void> {
    const twin = ask.besides === "twins" ? [this.#post(ask, asked, { role: "twin", body, key: "twin" })] : [];
    await Promise.all([this.#post(ask, asked, { role: "first", body, key: "first" }), ...twin]);
    if (ask.besides === "repeat") await this.#post(ask, asked, { role: "repeat", body, key: "first" });
    if (ask.besides === "contradict") {
      const decision = body.decision === "approve" ? "deny" : "approve";
      await this.#post(ask, asked, { role: "contradict", body: { decision }, key: "contradict" });
    }
  }

  async #comeTooLate(ask: PlannedAsk, asked: Asked): Promise<void> {
    await delay(Math.max(0, asked.deadline - Date.now()) + 100);
    await this.#post(ask, asked, { role: "late", body: { decision: "approve" }, key: "late" });
  }

  /** Neither of these may decide anything. */
  async #misdirect(ask: PlannedAsk, asked: Asked): Promise<void> {
    const body = { decision: "approve" as const, argumentsHash: "0".repeat(64) };
    await this.#post(ask, asked, { role: "misdirected", body, key: "other-hash" });
    const callId = this.#outside.strangersCall(this.#plan.id);
    if (callId === undefined) return;
    const stranger = { ...asked, callId } as Asked;
    await this.#post(ask, stranger, { role: "misdirected", body: { decision: "approve" }, key: "other-session" });
  }

  async #post(
    ask: PlannedAsk,
    { callId }: Asked,
    { role, body, key }: { readonly role: Post["role"]; readonly body: Body; readonly key: string },
  ): Promise<void> {
    const answer = await this.#client.ask({
      method: "POST",
      route: `/approvals/${callId}`,
      body,
      key: `${ask.label}-${key}`,
      accepts: [404, 409],
    });
    const said = jsonOf(answer) as ApprovalDecision & { readonly first?: ApprovalDecision; readonly code?: string };
    const { status = 0, failures = 0 } = answer ?? {};
    this.posts.push({
      label: ask.label,
      role,
      decision: body.decision,
      status,
      stands: status === 200 ? said : said.first,
      code: said.code,
      atKillOf: role === "first" || role === "race" ? ask.atKillOf : undefined,
      failures,
    });
  }
}
