/**
 * The relay's own process: listens on 127.0.0.1 and passes every connection on to the proxy's socket. Inside a sandbox this
 * file is alone, so it imports nothing of ours: `relay inside <port> <socket>`.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { connect, createServer } from "node:net";
import { pipeline } from "node:stream";

/** More than the proxy takes, which then says so in words. */
const CONNECTIONS_MAX = 512;

/** Calls back when it listens. The process ends when it cannot. */
export function listenRelay(port: number, socket: string, onReady: () => void): void {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const proxy = connect({ path: socket, allowHalfOpen: true });
    const ended = (error: Error | null | undefined): void => {
      if (!error) return;
      client.destroy();
      proxy.destroy();
    };
    client.on("error", ended);
    proxy.on("error", ended);
    pipeline(client, proxy, ended);
    pipeline(proxy, client, ended);
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.once("error", () => process.exit(1));
  server.listen(port, "127.0.0.1", onReady);
}

if (process.argv[2] === "inside") {
  const [port, socket = ""] = process.argv.slice(3);
  // They are meant for the command, which may say goodbye over the network.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  listenRelay(Number(port), socket, () => {
    writeSync(1, `${process.pid}\n`);
    closeSync(1);
    openSync("/dev/null", "w"); // Takes the number that became free.
  });
}
