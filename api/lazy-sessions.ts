/** The gateway that is loaded when it is first needed: Temporal's client costs more to import than all the rest of the API. */
import type { Sessions } from "./sessions.ts";

export function createLazySessions(load: () => Promise<Sessions>): Sessions {
  let loading: Promise<Sessions> | undefined;
  const loaded = (): Promise<Sessions> => {
    loading ??= load();
    return loading;
  };
  return {
    start: async (start) => await (await loaded()).start(start),
    submit: async (sessionId, message) => await (await loaded()).submit(sessionId, message),
    removeMessage: async (sessionId, messageId) => await (await loaded()).removeMessage(sessionId, messageId),
    interrupt: async (sessionId, request) => await (await loaded()).interrupt(sessionId, request),
    endWait: async (sessionId, wait) => await (await loaded()).endWait(sessionId, wait),
    close: async (sessionId, incarnation) => await (await loaded()).close(sessionId, incarnation),
    isStuck: async (sessionId) => await (await loaded()).isStuck(sessionId),
    abandon: async (sessionId) => await (await loaded()).abandon(sessionId),
    running: async () => await (await loaded()).running(),
    end: async (run) => await (await loaded()).end(run),
    progress: async (sessionId) => await (await loaded()).progress(sessionId),
    purge: async (sessionId, incarnation) => await (await loaded()).purge(sessionId, incarnation),
    workspace: async (request, key) => await (await loaded()).workspace(request, key),
    runCommand: async (command) => await (await loaded()).runCommand(command),
    stopCommand: async (command) => await (await loaded()).stopCommand(command),
    stopIdle: async (key) => await (await loaded()).stopIdle(key),
    serveTerminal: async (key) => await (await loaded()).serveTerminal(key),
    check: async () => await (await loaded()).check(),
    [Symbol.asyncDispose]: async () => {
      if (loading) await (await loading)[Symbol.asyncDispose]();
    },
  };
}
