/** The schedule of chaos: the same for the same seed, within its bounds, and of those faults only that a run can make. */
import { expect, test } from "vitest";
import { type Fault, type FaultType, isLoss } from "../../bench/chaos/faults/fault.ts";
import { type ScheduleOptions, type Strike, strikeSchedule } from "../../bench/chaos/schedule.ts";

const ALL = new Set<FaultType>(["pause", "outage", "block", "host", "power", "restore", "disk"]);

function strikes(options: ScheduleOptions, count = 2_000): readonly Strike[] {
  const schedule = strikeSchedule(options);
  return Array.from({ length: count }, () => schedule.next().value);
}

function faultsOf(all: readonly Strike[]): readonly Fault[] {
  return all.flatMap((strike) => ("fault" in strike ? [strike.fault] : []));
}

test("the same seed gives the same strikes, another seed others", () => {
  expect(strikes({ seed: 5, faults: ALL })).toEqual(strikes({ seed: 5, faults: ALL }));
  expect(strikes({ seed: 5, faults: ALL })).not.toEqual(strikes({ seed: 6, faults: ALL }));
});

test("every fault comes, and pauses are of each process and of 1 to 20 seconds", () => {
  const faults = faultsOf(strikes({ seed: 1, faults: ALL }));
  expect(new Set(faults.map(({ type }) => type))).toEqual(ALL);
  const pauses = faults.flatMap((fault) => (fault.type === "pause" ? [fault] : []));
  expect(new Set(pauses.map(({ name }) => name))).toEqual(new Set(["worker", "api", "temporal"]));
  expect(pauses.every(({ forMs }) => forMs >= 1_000 && forMs <= 20_000)).toBe(true);
  const outages = faults.flatMap((fault) => (fault.type === "outage" ? [fault.forMs] : []));
  expect(Math.max(...outages)).toBeGreaterThan(25_000);
  expect(Math.max(...outages)).toBeLessThanOrEqual(30_000);
});

test("what a run cannot make is never drawn, and without faults there are only kills", () => {
  const able = new Set<FaultType>(["pause"]);
  expect(new Set(faultsOf(strikes({ seed: 2, faults: able })).map(({ type }) => type))).toEqual(able);
  expect(faultsOf(strikes({ seed: 2 }))).toEqual([]);
});

test("losses come about once a minute, so that sessions begin and end in between", () => {
  const all = strikes({ seed: 3, faults: ALL });
  const minutes = all.reduce((sum, { afterMs }) => sum + afterMs, 0) / 60_000;
  const losses = faultsOf(all).filter(isLoss).length;
  expect(losses / minutes).toBeGreaterThan(0.6);
  expect(losses / minutes).toBeLessThan(1.4);
});
