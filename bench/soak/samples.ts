/** One look at everything that could grow: memory and descriptors of each process, histories, rows, and bytes on the disk. */
import { type Dirent, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { World } from "../../test/support/world.ts";
import type { LineRule } from "./lines.ts";

const MEMORY_SLACK = 40e6;
const DISK_SLACK = 8e6;
const PROCESSES = ["temporal", "worker", "api"] as const;

/** Temporal keeps the histories of closed workflows for its namespace's retention, which is longer than any soak. */
const RETENTION = "Temporal keeps closed workflows for the retention of its namespace (a day)";

export const RULES: readonly LineRule[] = [
  ...PROCESSES.map((name): LineRule => {
    const rule = { key: `memory ${name}`, unit: "bytes", slack: MEMORY_SLACK } as const;
    return name === "temporal" ? { ...rule, explained: `${RETENTION}; its caches fill` } : rule;
  }),
  ...PROCESSES.map((name): LineRule => ({ key: `descriptors ${name}`, unit: "count", slack: 25 })),
  { key: "longest history", unit: "count", slack: 150 },
  { key: "running workflows", unit: "count", slack: 15 },
  { key: "rows", unit: "count", slack: 600 },
  { key: "disk perdure.db", unit: "bytes", slack: DISK_SLACK },
  { key: "disk temporal.db", unit: "bytes", slack: DISK_SLACK, explained: RETENTION },
  { key: "disk blobs", unit: "bytes", slack: DISK_SLACK },
  { key: "disk sandboxes", unit: "bytes", slack: DISK_SLACK },
  { key: "disk transit", unit: "bytes", slack: DISK_SLACK },
  { key: "disk logs", unit: "bytes", slack: DISK_SLACK },
  { key: "files", unit: "count", slack: 400 },
];

export type Sample = Readonly<Record<string, number>>;

export async function takeSample(world: World): Promise<Sample> {
  const sample: Record<string, number> = {};
  for (const name of PROCESSES) {
    const pid = world.pidOf(name);
    sample[`memory ${name}`] = residentBytes(pid);
    sample[`descriptors ${name}`] = readdirSync(`/proc/${pid}/fd`).length;
  }
  Object.assign(sample, await histories(world));
  sample["rows"] = rowsOf(path.join(world.stateDir, "perdure.db"));
  for (const name of ["perdure.db", "temporal.db"]) sample[`disk ${name}`] = usedBytes(path.join(world.stateDir, name));
  for (const name of ["blobs", "sandboxes", "transit", "logs"])
    sample[`disk ${name}`] = folderOf(path.join(world.stateDir, name)).bytes;
  sample["files"] = folderOf(world.stateDir).files;
  return sample;
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1_024;
}

async function histories(world: World): Promise<Sample> {
  const { workflow } = await world.temporal();
  let [running, longest] = [0, 0];
  // A list says how long a history is only of workflows that are closed.
  for await (const { workflowId } of workflow.list({ query: "ExecutionStatus = 'Running'" })) {
    running += 1;
    const found = await workflow
      .getHandle(workflowId)
      .describe()
      .catch(() => undefined);
    longest = Math.max(longest, found?.historyLength ?? 0);
  }
  return { "running workflows": running, "longest history": longest };
}

function rowsOf(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const tables = database.prepare("select name from sqlite_schema where type = 'table'").all();
    return tables.reduce(
      (sum, { name }) => sum + Number(database.prepare(`select count(*) as n from "${String(name)}"`).get()?.["n"]),
      0,
    );
  } finally {
    database.close();
  }
}

/** Pages in use: those that are free again are used before the file grows. */
function usedBytes(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const pragma = (name: string): number => Number(Object.values(database.prepare(`pragma ${name}`).get() ?? {})[0]);
    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  } finally {
    database.close();
  }
}

/** Apparent sizes of what is there now; what goes while we look does not count. */
function folderOf(folder: string): { readonly bytes: number; readonly files: number } {
  let [bytes, files] = [0, 0];
  const look = (place: string): void => {
    for (const entry of entriesOf(place)) {
      const name = path.join(place, entry.name);
      if (entry.isDirectory()) look(name);
      else {
        files += 1;
        bytes += statSync(name, { throwIfNoEntry: false })?.size ?? 0;
      }
    }
  };
  look(folder);
  return { bytes, files };
}

function entriesOf(folder: string): readonly Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // It has gone, or nothing was ever put there.
  }
}
