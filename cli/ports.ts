/** Ports: whether one is free, and finding one that is. */
import { createServer, type Server } from "node:net";

/** Whether we could listen there now. Somebody else may take it a moment later: callers must cope. */
export async function isPortFree(host: string, port: number): Promise<boolean> {
  try {
    await probe(host, port);
    return true;
  } catch (error) {
    if (isNodeError(error) && (error.code === "EADDRINUSE" || error.code === "EACCES")) return false;
    throw error;
  }
}

/** The preferred port when it is free, else one that the kernel picks. */
export async function freePort(host: string, preferred = 0): Promise<number> {
  if (preferred !== 0 && (await isPortFree(host, preferred))) return preferred;
  return probe(host, 0);
}

/** Listens for an instant and answers with the port it got. */
function probe(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => {
      const got = portOf(server);
      server.close(() => resolve(got));
    });
  });
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a listening TCP server has no port");
  return address.port;
}

function isNodeError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error;
}
