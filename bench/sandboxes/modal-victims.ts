/** Sandboxes of modal: a stand-in as a process of its own, which the workers' deaths do not touch, and whose sandboxes are killed by its own call. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { SandboxId } from "../../contract/ids.ts";
import { describeProcess, processesOf } from "../../test/support/stray-processes.ts";
import type { FoundVictims } from "./providers.ts";
import { STARTS_FILE } from "./script.ts";
import { type KilledSandbox, linesOf } from "./victims.ts";

const WORKSPACE = "workspace";
const STARTS_WITHIN_MS = 20_000;

interface StandIn {
  readonly url: string;
  readonly controlUrl: string;
  readonly tokenId: string;
  readonly tokenSecret: string;
}

interface StoodIn {
  readonly id: string;
  readonly name: string;
  readonly tags: readonly { readonly tagName: string; readonly tagValue: string }[];
  readonly runs: boolean;
}

/** Throws an Error in words when the stand-in does not start. */
export async function startModal(): Promise<FoundVictims> {
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-modal-chaos-"));
  const program = fileURLToPath(new URL("../../test/support/modal-stand-in.ts", import.meta.url));
  const child = spawn(process.execPath, [program], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: folder },
  });
  const end = async (): Promise<void> => {
    const gone = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined;
    child.kill("SIGTERM");
    await gone;
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const signal = AbortSignal.timeout(STARTS_WITHIN_MS);
    const [line] = (await once(createInterface(child.stdout), "line", { signal })) as [string];
    const standIn = JSON.parse(line) as StandIn;
    return {
      environment: {
        MODAL_SERVER_URL: standIn.url,
        MODAL_TOKEN_ID: standIn.tokenId,
        MODAL_TOKEN_SECRET: standIn.tokenSecret,
      },
      of: () => victimsOf(standIn, folder),
      [Symbol.asyncDispose]: end,
    };
  } catch (thrown) {
    await end();
    throw new Error("the Modal stand-in did not start", { cause: thrown });
  }
}

function victimsOf({ controlUrl }: StandIn, folder: string): ReturnType<FoundVictims["of"]> {
  const kept = path.join(folder, "kept");
  mkdirSync(kept);
  let killed = 0;
  const running = async (): Promise<readonly (StoodIn & { readonly ours: SandboxId })[]> => {
    const all = (await (await fetch(`${controlUrl}/sandboxes`)).json()) as readonly StoodIn[];
    return all.flatMap((one) => {
      const ours = one.tags.map(({ tagValue }) => SandboxId.safeParse(tagValue).data).find((id) => id !== undefined);
      return one.runs && ours !== undefined ? [{ ...one, ours }] : [];
    });
  };
  return {
    description: "the stand-in of Modal, as a process of its own",
    list: async () => (await running()).map(({ ours }) => ours),
    async kill(id) {
      const found = (await running()).find(({ ours }) => ours === id);
      if (!found) return undefined;
      const from = Date.now();
      // The stand-in takes the folder away, so the file gets a second name, which outlives that.
      const copy = path.join(kept, `${++killed}`);
      const starts = startsOf(folder, found.id);
      if (starts !== undefined && existsSync(starts)) linkSync(starts, copy);
      const answer = await fetch(`${controlUrl}/kill`, { method: "POST", body: JSON.stringify({ name: found.name }) });
      const { killed: isKilled } = (await answer.json()) as { readonly killed: boolean };
      if (!isKilled) return undefined;
      const lines = existsSync(copy) ? linesOf(readFileSync(copy, "utf8")) : [];
      return { id, from, until: Date.now(), starts: starts === undefined ? undefined : lines } satisfies KilledSandbox;
    },
    // The stand-in's own sandboxes are its processes; those of a sandbox that ended have its folder in their words.
    async strays() {
      const alive = new Set((await running()).map(({ id }) => id));
      const folders = readdirSync(folder).filter((name) => name.startsWith("perdure-modal-"));
      const ended = folders.flatMap((name) =>
        readdirSync(path.join(folder, name)).filter((id) => id.startsWith("sb-") && !alive.has(id)),
      );
      return ended.flatMap((id) => processesOf(id).map(describeProcess));
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** Where the stand-in keeps the file of that sandbox; undefined when it has no such folder. */
function startsOf(folder: string, id: string): string | undefined {
  const parents = readdirSync(folder).filter((name) => name.startsWith("perdure-modal-"));
  const own = parents.map((name) => path.join(folder, name, id)).find((candidate) => existsSync(candidate));
  return own && path.join(own, "root", WORKSPACE, STARTS_FILE);
}
