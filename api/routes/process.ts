/** What operators and tools ask of the process itself: does it live, can it work, what has it done, what can it do. */
import { z } from "zod";
import { type ProblemCode, ProblemError } from "../../contract/errors.ts";
import { Health } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import { countPendingApprovals } from "../../store/approval-list.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";

const JSON_TYPE = "application/json";

export function processOperations(deps: Dependencies, all: () => readonly Operation[]): readonly Operation[] {
  return [
    operation({
      method: "get",
      path: "/healthz",
      id: "getHealth",
      isPublic: true,
      summary: "Does this process live?",
      answers: { 200: { description: "It does.", contentType: JSON_TYPE, schema: Health } },
      problems: [],
      handle: async () => ({ status: 200, body: { status: "alive" } }),
    }),
    operation({
      method: "get",
      path: "/readyz",
      id: "getReadiness",
      isPublic: true,
      summary: "Can this process work?",
      description:
        "Whether the store can be written and Temporal answers. Processes of the same stack that wait for something are named with it.",
      answers: { 200: { description: "It can.", contentType: JSON_TYPE, schema: Health } },
      problems: ["STORAGE_ERROR", "UNAVAILABLE"],
      handle: async () => {
        await checkAll(deps);
        const waiting = deps.waiting?.() ?? [];
        return { status: 200, body: { status: "ready", ...(waiting.length > 0 && { waiting: [...waiting] }) } };
      },
    }),
    operation({
      method: "get",
      path: "/metrics",
      id: "getMetrics",
      summary: "Counters, as Prometheus reads them",
      answers: { 200: { description: "Text exposition format 0.0.4.", contentType: "text/plain" } },
      problems: [],
      handle: async ({ response }) => {
        // A store that cannot be read is told by /readyz; the counters are still of use.
        const pendingApprovals = await countPendingApprovals(deps.store.database).catch(() => undefined);
        const held = { streams: deps.unread.total, answers: deps.answers.held, bodies: deps.bodies.held };
        response.setHeader("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
        response.end(deps.metrics.render({ pendingApprovals, held }));
        return undefined;
      },
    }),
    ...documentOperations(all),
  ];
}

/** The document is made when it is first asked for: a process that was just killed has no time for it. */
function documentOperations(all: () => readonly Operation[]): readonly Operation[] {
  const load = once(async () => {
    const { createOpenApi } = await import("../openapi.ts");
    return createOpenApi(all());
  });
  return [
    operation({
      method: "get",
      path: "/openapi.json",
      id: "getOpenApi",
      isPublic: true,
      summary: "This API as an OpenAPI 3.1 document",
      answers: {
        200: { description: "The document.", contentType: JSON_TYPE, schema: z.record(z.string(), z.unknown()) },
      },
      problems: [],
      handle: async () => ({ status: 200, body: await load() }),
    }),
    operation({
      method: "get",
      path: "/docs",
      id: "getDocs",
      isPublic: true,
      summary: "This API as a page",
      answers: { 200: { description: "The page.", contentType: "text/html" } },
      problems: [],
      handle: async ({ response }) => {
        const { renderDocs } = await import("../docs-page.ts");
        response.set(
          "Content-Security-Policy",
          "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
        );
        response.type("text/html").send(renderDocs(await load()));
        return undefined;
      },
    }),
  ];
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

interface Check {
  readonly what: "store" | "temporal";
  readonly code: ProblemCode;
  run(): Promise<unknown>;
}

async function checkAll(deps: Dependencies): Promise<void> {
  const { database } = deps.store;
  const checks: readonly Check[] = [
    // A transaction that begins takes the write lock, which is what writing needs.
    {
      what: "store",
      code: "STORAGE_ERROR",
      run: () => database.write((tx) => tx.selectFrom("sessions").select("id").limit(1).execute()),
    },
    { what: "temporal", code: "UNAVAILABLE", run: () => deps.sessions.check() },
  ];
  const failures = (await Promise.all(checks.map(failureOf))).filter((failure) => failure !== undefined);
  const [first] = failures;
  if (!first) return;
  const waiting = (deps.waiting?.() ?? []).map(({ process, waitsFor, since }) => ({
    path: `/processes/${process}`,
    message: `waits since ${new Date(since).toISOString()}: ${waitsFor}`,
  }));
  throw new ProblemError(first.code, failures.map(({ what, message }) => `${what}: ${message}`).join("; "), {
    errors: [...failures.map(({ what, message }) => ({ path: `/checks/${what}`, message })), ...waiting],
  });
}

async function failureOf(check: Check): Promise<{ what: string; code: ProblemCode; message: string } | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${LIMITS.readyTimeoutMs} ms`)), LIMITS.readyTimeoutMs);
  });
  try {
    await Promise.race([check.run(), late]);
    return undefined;
  } catch (error) {
    return { what: check.what, code: check.code, message: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}
