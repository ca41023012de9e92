/** What goes wrong at the Modal stand-in, on order: refused, lost and dropped answers, and how often each call was seen. */
import { status } from "@grpc/grpc-js";

export interface Fault {
  /** The call that it meets, such as `SandboxCreateV2`. */
  readonly rpc: string;
  /** How many calls it meets. Default 1. */
  readonly times?: number;
  /** The call fails with this, `before` anything is done (default) or `after` it was done, so that only the answer is lost. */
  readonly status?: keyof typeof status;
  readonly when?: "before" | "after";
  /** Of a stream: it breaks with `status` (default UNAVAILABLE) when it has carried so many bytes. */
  readonly afterBytes?: number;
  /** The answer never comes. */
  readonly hangs?: boolean;
  /** The answer is there and says nothing: of `SandboxGetTaskIdV2`, a task that is not yet known. */
  readonly empty?: boolean;
}

export interface Faults {
  add(fault: Fault): void;
  /** Takes the next fault of that call, and counts the call. */
  next(rpc: string): Fault | undefined;
  /** Whether one waits for that call. */
  awaits(rpc: string): boolean;
  /** How often that call came, since the last `forget`. */
  seen(rpc: string): number;
  forget(): void;
}

/** An error as grpc-js passes it on to the client. */
export class StatusError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(name: keyof typeof status, details: string) {
    super(details);
    this.code = status[name] as number;
    this.details = details;
  }
}

export function createFaults(): Faults {
  const waiting: { fault: Fault; left: number }[] = [];
  const counts = new Map<string, number>();
  return {
    add: (fault) => void waiting.push({ fault, left: fault.times ?? 1 }),
    next(rpc) {
      counts.set(rpc, (counts.get(rpc) ?? 0) + 1);
      const found = waiting.find(({ fault }) => fault.rpc === rpc);
      if (found === undefined) return undefined;
      found.left -= 1;
      if (found.left === 0) waiting.splice(waiting.indexOf(found), 1);
      return found.fault;
    },
    awaits: (rpc) => waiting.some(({ fault }) => fault.rpc === rpc),
    seen: (rpc) => counts.get(rpc) ?? 0,
    forget() {
      waiting.length = 0;
      counts.clear();
    },
  };
}
