/** What is done to a stack besides killing it: pauses, outages, a blocked loop, another host name, lost time and a full disk. */
import type { ProcessName } from "../../../cli/state-directory.ts";

/** What sessions must survive as if nothing had been: their logs are compared with undisturbed runs. */
export type Disturbance =
  /** SIGSTOP, and SIGCONT after that long. */
  | { readonly type: "pause"; readonly name: ProcessName; readonly forMs: number }
  /** Temporal is killed and not there for that long. */
  | { readonly type: "outage"; readonly forMs: number }
  /** A tool keeps the worker's event loop for that long. */
  | { readonly type: "block"; readonly forMs: number }
  /** The whole stack dies and comes back under another host name. */
  | { readonly type: "host" };

/** What takes something away: a session may be behind afterwards, and has to go on. */
export type Loss =
  /** All processes die at once, and each database is as it was so long before. */
  | { readonly type: "power"; readonly storeMs: number; readonly temporalMs: number }
  /** All processes die, and databases are replaced by copies of about a minute before. */
  | { readonly type: "restore"; readonly of: "store" | "temporal" | "both" }
  /** The disk of the state directory is full for that long. */
  | { readonly type: "disk"; readonly forMs: number };

export type Fault = Disturbance | Loss;
export type FaultType = Fault["type"];

/** Those of a storm in which nothing may be lost. */
export const DISTURBANCES: readonly Disturbance["type"][] = ["pause", "outage", "block", "host"];

/** The power cut takes back at most this much. */
export const POWER_CUT_MS = 3_000;

export function isLoss(fault: Fault): fault is Loss {
  return fault.type === "power" || fault.type === "restore" || fault.type === "disk";
}

export function describeFault(fault: Fault): string {
  switch (fault.type) {
    case "pause":
      return `${fault.name} stopped for ${fault.forMs} ms`;
    case "outage":
      return `Temporal away for ${fault.forMs} ms`;
    case "block":
      return `worker's event loop blocked for ${fault.forMs} ms`;
    case "host":
      return "restart under another host name";
    case "power":
      return `power cut: store ${fault.storeMs} ms back, Temporal ${fault.temporalMs} ms back`;
    case "restore":
      return `restored from a copy: ${fault.of}`;
    case "disk":
      return `disk full for ${fault.forMs} ms`;
  }
}
