/** A gatekeeper over an agent, for tests of what becomes of calls: no grant is there unless a store is given. */
import type { Gatekeeper } from "../../activities/gated-calls.ts";
import { Agent, type ClientTool } from "../../contract/agents.ts";
import type { Database } from "../../store/database.ts";
import { createToolbox, type Toolbox } from "../../tools/registry.ts";

export function aGatekeeper(of: {
  readonly agent?: Agent;
  readonly clientTools?: readonly ClientTool[];
  readonly database?: Database;
  readonly tools?: Toolbox;
  readonly sessionId?: string;
  readonly project?: string;
}): Gatekeeper {
  return {
    database: of.database ?? NO_DATABASE,
    tools: of.tools ?? createToolbox(),
    sessionId: of.sessionId ?? "ses_gate",
    setup: {
      agent: of.agent ?? Agent.parse({}),
      clientTools: of.clientTools ?? [],
      project: of.project ?? null,
      configuration: 0,
    },
  };
}

/** A call that nobody has to be asked about needs no database: one that touches it fails its test. */
const NO_DATABASE = new Proxy({} as Database, {
  get: (_target, name) => {
    throw new Error(`the gate asked the database (${String(name)}) although nobody has to be asked`);
  },
});
