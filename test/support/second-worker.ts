/** A worker beside the one that a world's stack has, of the same store and Temporal. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { World } from "./world.ts";

export interface SecondWorker extends AsyncDisposable {
  kill(): Promise<void>;
}

/** Resolves when it is ready. `env`: what it is to have otherwise than the stack's own. */
export async function startSecondWorker(world: World, env: Readonly<Record<string, string>>): Promise<SecondWorker> {
  const child = spawn(process.execPath, ["workers/main.ts"], {
    env: {
      ...process.env,
      OPENAI_API_KEY: "sk-scripted",
      OPENAI_BASE_URL: world.model.url,
      PERDURE_SANDBOX: "local",
      PERDURE_STATE_DIR: world.stateDir,
      PERDURE_LOG_LEVEL: "warn",
      TEMPORAL_ADDRESS: world.stack.temporalAddress,
      ...env,
    },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  await once(child, "message");
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };
  return { kill, [Symbol.asyncDispose]: kill };
}
