/** Plays a session's script: posts, steers, takes back, interrupts and decides as it says, and notes what is wrong at once. */
import { writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { SessionEventOf } from "../../contract/events.ts";
import type { SessionDetail } from "../../contract/http.ts";
import type { ApprovalDecision } from "../../contract/waits.ts";
import { processesOf } from "../../test/support/stray-processes.ts";
import { waitFor } from "../../test/support/world.ts";
import type { ChaosClient } from "./client.ts";
import { AnswerError, HangError, jsonOf } from "./persistent-request.ts";
import type {
  Act,
  ActOf,
  EndlessMessage,
  GatedMessage,
  ScriptedDecision,
  ScriptedMessage,
  SessionScript,
} from "./script.ts";

const STOP_MS = 5_000;
const AGAIN_MS = 500;
const TAKEN_WITHIN_MS = 120_000;
const LOOK_AGAIN_MS = 100;

/** Plays every act, closes the session and waits for the end of its log. */
export async function play(client: ChaosClient, script: SessionScript): Promise<void> {
  for (const act of script.acts) await playAct(client, act);
  await client.close();
}

async function playAct(client: ChaosClient, act: Act): Promise<void> {
  switch (act.type) {
    case "messages":
      for (const message of act.messages) await client.post(message, act.mode);
      for (const message of act.messages) await client.ended(message);
      return;
    case "interrupt":
      await client.post(act.message, "queue");
      await interrupt(client, await printing(client, act.message));
      await gone(client, act.message);
      return;
    case "replace":
      await client.post(act.message, "queue");
      await printing(client, act.message);
      await client.post(act.next, "interrupt");
      await client.ended(act.message);
      await gone(client, act.message);
      await client.ended(act.next);
      return;
    case "cut":
      await client.post(act.message, "queue");
      await interrupt(client, await inTurn(client, act.message, "block.delta"));
      return;
    case "steer":
      return await steer(client, act);
    case "remove":
      return await remove(client, act);
    case "decide":
      await client.post(act.message, "queue");
      for (const decision of act.decisions) await decide(client, decision);
      await client.ended(act.message);
      return;
    case "abandon":
      return await abandon(client, act);
  }
}

function printing(client: ChaosClient, message: ScriptedMessage): Promise<SessionEventOf<"turn.started">> {
  return inTurn(client, message, "tool.output");
}

/** Resolves with the turn's start when an event of that type has come in it. */
async function inTurn(
  client: ChaosClient,
  message: ScriptedMessage,
  type: "tool.output" | "block.delta" | "approval.requested",
): Promise<SessionEventOf<"turn.started">> {
  const turn = await client.started(message);
  await client.until(`${type} in the turn of ${message.id}`, () =>
    client.reader.events().some((event) => event.type === type && event.turnId === turn.turnId),
  );
  return turn;
}

async function interrupt(client: ChaosClient, { turnId, messageId }: SessionEventOf<"turn.started">): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  const repeating = (async () => {
    while (!signal.aborted) {
      await client.ask({ method: "POST", route: "/interrupt", body: { turnId }, signal });
      await delay(AGAIN_MS, undefined, { signal }).catch(() => undefined);
    }
  })();
  repeating.catch(() => undefined); // It is awaited below, when the turn has ended or was given up.
  try {
    await client.ended({ id: messageId });
  } finally {
    over.abort();
    await repeating;
  }
}

/** A turn that is over has nothing that still runs for it. */
async function gone(client: ChaosClient, { mark }: EndlessMessage): Promise<void> {
  const isGone = (): boolean => processesOf(mark).length === 0;
  await waitFor("it is gone", isGone, STOP_MS).catch(() => {
    client.faults.push(`${STOP_MS} ms after its turn was stopped, the command still ran: ${mark}`);
  });
}

/** While its command waits at the gate a message joins the turn: its own steps are answered next. */
async function steer(client: ChaosClient, act: ActOf<"steer">): Promise<void> {
  await client.post(act.message, "queue");
  await printing(client, act.message);
  await client.post(act.joining, "steer");
  await taken(client, act.joining);
  open(act.message);
  await client.ended(act.message);
}

/** While its command waits at the gate another message is posted and taken back, twice. */
async function remove(client: ChaosClient, act: ActOf<"remove">): Promise<void> {
  await client.post(act.message, "queue");
  await printing(client, act.message);
  await client.post(act.removed, act.mode);
  for (let time = 0; time < 2; time++) await client.ask({ method: "DELETE", route: `/messages/${act.removed.id}` });
  open(act.message);
  await client.ended(act.message);
}

/** What was accepted while Temporal was away reaches the workflow later; only what it has taken joins for certain. */
async function taken(client: ChaosClient, { id }: ScriptedMessage): Promise<void> {
  for (const since = Date.now(); ; ) {
    const { progress } = await client.get<SessionDetail>("");
    if (progress?.steering.includes(id)) return;
    if (Date.now() > since + TAKEN_WITHIN_MS) throw new HangError(`the workflow never took ${id}`);
    await delay(LOOK_AGAIN_MS);
  }
}

function open({ gate }: GatedMessage): void {
  writeFileSync(gate, "");
}

async function decide(client: ChaosClient, scripted: ScriptedDecision): Promise<void> {
  const { label, body } = scripted;
  const { callId } = await asked(client, label);
  const request = { method: "POST", route: `/approvals/${callId}`, body };
  const first = jsonOf(await client.ask({ ...request, key: label })) as ApprovalDecision;
  expectDecision(label, first, body.decision);
  if (scripted.then === "repeat") {
    const again = jsonOf(await client.ask({ ...request, key: label })) as ApprovalDecision;
    if (again.at !== first.at) throw new AnswerError(`the decision on ${label} was made again`);
  }
  if (scripted.then === "contradict") await contradict(client, { callId, label, stands: body.decision });
}

function asked(client: ChaosClient, label: string): Promise<SessionEventOf<"approval.requested">> {
  const isIt = (event: SessionEventOf<"approval.requested">): boolean =>
    JSON.stringify(event.arguments).includes(`${label} >>`);
  return client.until(`${label} is asked about`, () => client.reader.ofType("approval.requested").find(isIt));
}

/** Says the opposite: it has to be refused, with the decision that stands. */
async function contradict(
  client: ChaosClient,
  of: { readonly callId: string; readonly label: string; readonly stands: "approve" | "deny" },
): Promise<void> {
  const body = { decision: of.stands === "approve" ? "deny" : "approve" };
  const answer = await client.ask({ method: "POST", route: `/approvals/${of.callId}`, body, accepts: [409] });
  const { first } = jsonOf(answer) as { readonly first?: ApprovalDecision };
  if (answer?.status !== 409) throw new AnswerError(`a second decision on ${of.label} answered ${answer?.status}`);
  expectDecision(of.label, first, of.stands);
}

function expectDecision(label: string, found: ApprovalDecision | undefined, wanted: "approve" | "deny"): void {
  if (found?.decision === wanted) return;
  throw new AnswerError(`${label} was to have the decision ${wanted}, the answer was ${JSON.stringify(found)}`);
}

/** The turn is stopped while a call of it waits for a person, who decides too late. */
async function abandon(client: ChaosClient, act: ActOf<"abandon">): Promise<void> {
  await client.post(act.message, "queue");
  const { callId } = await asked(client, act.label);
  await interrupt(client, await client.started(act.message));
  await contradict(client, { callId, label: act.label, stands: "deny" });
}
