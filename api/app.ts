/** The Express app: every operation under its route, one guard before them, one writer of errors behind them. */
import express, { type Express, type RequestHandler } from "express";
import { jsonFault } from "../contract/bounded-json.ts";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Dependencies } from "./dependencies.ts";
import { invalidField } from "./input.ts";
import type { Call, Operation, Reply } from "./operation.ts";
import { createProblemHandler } from "./problem.ts";
import { createRequestGuard, createRequestIds } from "./request-guard.ts";
import { agentOperations } from "./routes/agents.ts";
import { answerOperations } from "./routes/answers.ts";
import { approvalOperations } from "./routes/approvals.ts";
import { artifactOperations } from "./routes/artifacts.ts";
import { backendOperations } from "./routes/backends.ts";
import { commandOperations } from "./routes/commands.ts";
import { downloadOperations } from "./routes/downloads.ts";
import { endingOperations } from "./routes/endings.ts";
import { eventOperations } from "./routes/events.ts";
import { fileOperations } from "./routes/files.ts";
import { grantOperations } from "./routes/grants.ts";
import { messageOperations } from "./routes/messages.ts";
import { processOperations } from "./routes/process.ts";
import { progressOperations } from "./routes/progress.ts";
import { sandboxOperations } from "./routes/sandboxes.ts";
import { sessionOperations } from "./routes/sessions.ts";
import { terminalOperations } from "./routes/terminals.ts";
import { toolResultOperations } from "./routes/tool-results.ts";
import { transcriptOperations } from "./routes/transcript.ts";

export function createApp(deps: Dependencies): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.enable("case sensitive routing");
  app.enable("strict routing");
  app.set("query parser", "simple");
  const operations = allOperations(deps);
  app.use(deps.metrics.countRequests(), createRequestIds(), deps.answers.handler(), createRequestGuard());
  app.use(deps.authentication.handler(operations));
  for (const operation of operations) {
    app[operation.method](routesOf(operation.path), readBody(operation, deps), async (request, response) => {
      const reply = await operation.handle(request, response);
      if (reply) send(deps, reply, { request, response });
    });
  }
  for (const path of new Set(operations.map((operation) => operation.path))) {
    app.all(routesOf(path), refuseMethod(operations.filter((operation) => operation.path === path)));
  }
  app.use((request) => {
    throw new ProblemError("NOT_FOUND", `there is no ${request.path.slice(0, 200)} here; see /docs`);
  });
  app.use(createProblemHandler(deps.logger));
  return app;
}

function allOperations(deps: Dependencies): readonly Operation[] {
  const operations: Operation[] = [
    ...agentOperations(deps),
    ...sessionOperations(deps),
    ...messageOperations(deps),
    ...eventOperations(deps),
    ...progressOperations(deps),
    ...endingOperations(deps),
    ...approvalOperations(deps),
    ...answerOperations(deps),
    ...toolResultOperations(deps),
    ...grantOperations(deps),
    ...transcriptOperations(deps),
    ...artifactOperations(deps),
    ...fileOperations(deps),
    ...commandOperations(deps),
    ...downloadOperations(deps),
    ...backendOperations(deps),
    ...sandboxOperations(deps),
    ...terminalOperations(deps),
  ];
  operations.push(...processOperations(deps, () => operations));
  return operations;
}

/** OpenAPI's path as Express's. */
function routesOf(path: string): string[] {
  const route = path.replaceAll(/\{(\w+)\}/g, ":$1");
  const [folder, rest] = route.split(/\/\{\+(\w+)\}$/);
  return folder === undefined || rest === undefined ? [route] : [folder, `${folder}/`, `${folder}/*${rest}`];
}

/** JSON and nothing else where JSON is expected: a form that a foreign page sends is never read as something it is not. */
function readBody(operation: Operation, { bodies }: Pick<Dependencies, "bodies">): RequestHandler {
  const { bodyBytesMax: limit } = LIMITS;
  // Bytes are streamed by whoever takes them.
  if (!operation.body) return (_request, _response, next) => next();
  // Not strict: `null` and `1` are JSON, and it is the schema that says why they are not what is expected.
  const parse = express.json({ limit, type: () => true, strict: false, verify: refuseCostly });
  return (request, response, next) => {
    const hasBody =
      request.headers["transfer-encoding"] !== undefined || Number(request.headers["content-length"] ?? 0) > 0;
    if (hasBody && !request.is("application/json")) {
      const came = request.get("content-type")?.slice(0, 100) ?? "none";
      throw new ProblemError("UNSUPPORTED_MEDIA_TYPE", `expected Content-Type: application/json; got ${came}`);
    }
    if (!hasBody) return next();
    let isOver = false;
    const go = (error?: unknown): void => {
      if (!isOver) next(error);
      isOver = true;
    };
    bodies.watch(request, response, (problem) => {
      // What still comes of it is read by nobody.
      response.set("Connection", "close");
      request.pause();
      go(problem);
    });
    if (!isOver) parse(request, response, go);
  };
}

/** Before it is parsed: brackets in brackets of 8 MB would hold up everybody for seconds. */
function refuseCostly(_request: unknown, _response: unknown, body: Buffer): void {
  const fault = jsonFault(body);
  if (fault !== undefined) throw invalidField("", fault);
}

function refuseMethod(operations: readonly Operation[]): RequestHandler {
  const methods = operations.flatMap(({ method }) => (method === "get" ? ["GET", "HEAD"] : [method.toUpperCase()]));
  return (request, response) => {
    response.set("Allow", methods.join(", "));
    throw new ProblemError("METHOD_NOT_ALLOWED", `expected ${methods.join(" or ")}; got ${request.method}`);
  };
}

function send(
  { answers }: Dependencies,
  reply: Reply,
  to: Pick<Call<unknown, unknown, unknown>, "request" | "response">,
): void {
  const { request, response } = to;
  const json = reply.json ?? (reply.body === undefined ? undefined : JSON.stringify(reply.body));
  if (json !== undefined) answers.hold(request, response, json.length);
  response.status(reply.status).set(reply.headers ?? {});
  if (json === undefined) response.end();
  else response.type("application/json").send(json);
}
