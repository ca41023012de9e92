/** A process that watches one session over many connections, and tells how old each event was when it arrived. */
import { get } from "node:http";
import { now } from "../test/support/event-reader.ts";
import { percentile } from "./table.ts";

/** Milliseconds from an event's `at` to its arrival, over all events and connections. */
export interface WatcherReport {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  readonly arrivals: number;
  readonly events: number;
}

const EVENT = /^data: \{"seq":(\d+),"at":(\d+)/gm;

function watch(url: string, count: number): void {
  const ages: number[] = [];
  const seqs = new Set<string>();
  const beganAt = Date.now();
  let open = 0;
  const take = (frames: string): void => {
    const at = now();
    for (const [, seq, appendedAt] of frames.matchAll(EVENT)) {
      if (seq === undefined || Number(appendedAt) < beganAt) continue;
      seqs.add(seq);
      ages.push(at - Number(appendedAt));
    }
  };
  for (let i = 0; i < count; i++) {
    get(url, { agent: false, headers: { accept: "text/event-stream" } }, (response) => {
      if (++open === count) process.send?.("ready");
      let rest = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        // A frame may be cut anywhere; what stands after the last whole one waits for its other half.
        const whole = rest + text;
        const end = whole.lastIndexOf("\n\n") + 2;
        if (end >= 2) take(whole.slice(0, end));
        rest = end >= 2 ? whole.slice(end) : whole;
      });
    });
  }
  process.on("message", () => {
    const report: WatcherReport = {
      p50: percentile(ages, 50),
      p99: percentile(ages, 99),
      max: ages.reduce((most, age) => Math.max(most, age), 0),
      arrivals: ages.length,
      events: seqs.size,
    };
    process.send?.(report);
  });
  process.on("disconnect", () => process.exit(0));
}

const [, , url, count] = process.argv;
if (import.meta.main && url !== undefined) watch(url, Number(count));
