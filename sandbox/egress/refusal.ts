/** How the proxy says no: plain words that a program, an agent or a person can act on, in the body and in the status line. */
import { type ServerResponse, STATUS_CODES } from "node:http";

export interface Refusal {
  readonly status: number;
  readonly reason: string;
}

/** Many clients show the status line of a refused CONNECT and not its body. */
const PHRASE_MAX = 200;

/** A whole response as text, after which the connection ends. */
export function rawRefusal(refusal: Refusal): string {
  const body = bodyOf(refusal);
  const head = [
    `HTTP/1.1 ${refusal.status} ${phraseOf(refusal)}`,
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

/** The connection stays: one that is closed with an unread upload may lose the answer. */
export function answerRefusal(response: ServerResponse, refusal: Refusal): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = bodyOf(refusal);
  response.writeHead(refusal.status, phraseOf(refusal), {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

export function tooMany(connectionsMax: number): string {
  return `this sandbox has ${connectionsMax} connections open, and may have no more at a time`;
}

function bodyOf({ reason }: Refusal): string {
  return `${reason}\n`;
}

function phraseOf({ status, reason }: Refusal): string {
  const words = reason.replace(/[^\x20-\x7e]/g, "?").slice(0, PHRASE_MAX);
  return `${STATUS_CODES[status] ?? "Refused"}: ${words}`;
}
