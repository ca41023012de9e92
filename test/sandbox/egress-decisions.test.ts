/** The record of decisions: exact, whole or not at all, bounded, and readable while it is written. */
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { createDecisionRecord, readDecisions } from "../../sandbox/egress/decisions.ts";
import type { NetworkDecision } from "../../sandbox/provider.ts";

test("what was decided is read in order, from any offset that a reading gave", () => {
  using place = aPlace();
  const record = createDecisionRecord(place.folder);
  for (let n = 0; n < 3; n += 1) record.add(decided(`h${n}.test`));

  const first = readDecisions(place.folder, 0);
  expect(first.decisions).toEqual([decided("h0.test"), decided("h1.test"), decided("h2.test")]);
  expect(readDecisions(place.folder, first.next)).toEqual({ decisions: [], next: first.next });

  record.add(decided("late.test"));
  expect(readDecisions(place.folder, first.next).decisions).toEqual([decided("late.test")]);
});

test("without a record there is nothing, and the offset stays", () => {
  using place = aPlace();
  rmSync(place.record, { recursive: true });
  expect(readDecisions(place.folder, 0)).toEqual({ decisions: [], next: 0 });
  expect(readDecisions(place.folder, 77)).toEqual({ decisions: [], next: 77 });
  expect(() => createDecisionRecord(place.folder).add(decided("a.test"))).not.toThrow();
});

test("equal decisions within a second are recorded once, others each", () => {
  using place = aPlace();
  const record = createDecisionRecord(place.folder);
  for (let n = 0; n < 100; n += 1) {
    record.add(decided("a.test"));
    record.add({ ...decided("a.test"), port: 80 });
    record.add({ ...decided("a.test"), decision: "deny" });
  }
  expect(readDecisions(place.folder, 0).decisions).toHaveLength(3);
});

test("a line that is not whole yet is left for the next reading", () => {
  using place = aPlace();
  const line = `${JSON.stringify(decided("a.test"))}\n`;
  const file = path.join(place.record, "000000000000000");
  writeFileSync(file, line + line.slice(0, 20));
  const { decisions, next } = readDecisions(place.folder, 0);
  expect(decisions).toHaveLength(1);
  expect(next).toBe(line.length);
  appendFileSync(file, line.slice(20));
  expect(readDecisions(place.folder, next)).toEqual({ decisions: [decided("a.test")], next: 2 * line.length });
});

test("half a line of a killed writer is skipped, and spoils none after it", () => {
  using place = aPlace();
  const line = `${JSON.stringify(decided("a.test"))}\n`;
  for (let cut = 0; cut < line.length; cut += 1) {
    const file = path.join(place.record, "000000000000000");
    writeFileSync(file, line + line.slice(0, cut));
    createDecisionRecord(place.folder).add(decided("b.test"));
    // Only its line break was missing: then it is whole.
    const whole = cut === line.length - 1 ? [decided("a.test"), decided("a.test")] : [decided("a.test")];
    expect(readDecisions(place.folder, 0).decisions).toEqual([...whole, decided("b.test")]);
  }
});

test.each([
  ["no JSON", "garbage"],
  ["another kind of JSON", "[1,2]"],
  ["null", "null"],
  ["a decision that there is not", JSON.stringify({ ...decided("x.test"), decision: "maybe" })],
  ["a port that is none", JSON.stringify({ ...decided("x.test"), port: "80" })],
  ["no host", JSON.stringify({ port: 1, decision: "deny", reason: "" })],
  ["bytes that are no text", "\xff\xfe"],
  ["an empty line", ""],
])("a line with %s is skipped", (_what, line) => {
  using place = aPlace();
  const whole = JSON.stringify(decided("a.test"));
  writeFileSync(path.join(place.record, "000000000000000"), `${line}\n${whole}\n`, "latin1");
  expect(readDecisions(place.folder, 0).decisions).toEqual([decided("a.test")]);
});

test("the disk it takes is bounded, offsets go on over its files, and the oldest goes first", () => {
  using place = aPlace();
  const record = createDecisionRecord(place.folder, 1_000);
  const seen: string[] = [];
  let from = 0;
  for (let n = 0; n < 500; n += 1) {
    record.add(decided(`h${n}.test`));
    const { decisions, next } = readDecisions(place.folder, from);
    seen.push(...decisions.map(({ host }) => host));
    from = next;
  }
  expect(seen).toEqual(Array.from({ length: 500 }, (_, n) => `h${n}.test`));
  const files = readdirSync(place.record);
  expect(files).toHaveLength(2);
  for (const file of files) expect(statSync(path.join(place.record, file)).size).toBeLessThan(1_200);

  const late = readDecisions(place.folder, 0);
  expect(late.decisions.at(0)?.host).toMatch(/^h4\d\d\.test$/);
  expect(late.next).toBeLessThanOrEqual(from);
});

test("a new writer goes on where the one before has ended", () => {
  using place = aPlace();
  for (let n = 0; n < 30; n += 1) createDecisionRecord(place.folder, 500).add(decided(`h${n}.test`));
  let from = 0;
  const hosts: string[] = [];
  for (let n = 0; n < 10; n += 1) {
    const { decisions, next } = readDecisions(place.folder, from);
    hosts.push(...decisions.map(({ host }) => host));
    from = next;
  }
  expect(hosts.at(-1)).toBe("h29.test");
  expect(new Set(hosts).size).toBe(hosts.length);
});

test("one reading is bounded, and the next goes on", () => {
  using place = aPlace();
  const line = `${JSON.stringify(decided("a.test"))}\n`;
  const count = Math.ceil((2.5 * LIMITS.egressReadBytesMax) / line.length);
  writeFileSync(path.join(place.record, "000000000000000"), line.repeat(count));
  const counts: number[] = [];
  for (let from = 0; ; ) {
    const { decisions, next } = readDecisions(place.folder, from);
    if (decisions.length === 0) break;
    counts.push(decisions.length);
    from = next;
  }
  expect(counts).toHaveLength(3);
  expect(counts.reduce((a, b) => a + b)).toBe(count);
});

test("what a hostile program asks for is recorded in bounds and on one line", () => {
  using place = aPlace();
  createDecisionRecord(place.folder).add(decided(`a\r\n{"host":"b"}\n${"x".repeat(100_000)}`));
  const { decisions, next } = readDecisions(place.folder, 0);
  expect(decisions).toHaveLength(1);
  expect(next).toBeLessThan(2_000);
});

function decided(host: string): NetworkDecision {
  return { host, port: 443, decision: "allow", reason: "it is on the sandbox's list" };
}

function aPlace(): Disposable & { readonly folder: string; readonly record: string } {
  const folder = mkdtempSync(path.join(os.tmpdir(), "egress-"));
  const record = path.join(folder, "egress", "decisions");
  mkdirSync(record, { recursive: true });
  return { folder, record, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}
