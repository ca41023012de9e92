/** `perdure backup` and `perdure restore` over real state folders: what is kept, what is refused, and kills at any instant. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { text } from "node:stream/consumers";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { packTar } from "modern-tar";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { makeBackup, verifyBackup } from "../../cli/backup/make-backup.ts";
import { restoreBackup } from "../../cli/backup/restore-backup.ts";
import { StateDirectory } from "../../cli/state-directory.ts";
import { settleDatabase } from "../../cli/temporal-server.ts";
import { openStore } from "../../store/store.ts";

let folder: string;
let stateDir: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "perdure-backup-"));
  stateDir = path.join(folder, "state");
  file = path.join(folder, "kept.tar");
});
afterEach(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

/** A state directory whose store names one artifact, with something that has the shape of Temporal's database beside it. */
async function makeState(content: string): Promise<string> {
  await using store = await openStore(stateDir);
  const blob = await store.blobs.put(Buffer.from(content));
  await store.database.write(async (tx) => {
    const row = { ...blob, created_at: 1 };
    await tx.insertInto("blobs").values(row).execute();
    const artifact = {
      id: "art_1",
      session_id: "s",
      turn_id: "turn_1",
      path: "outputs/a.txt",
      content_type: "text/plain",
    };
    await tx
      .insertInto("artifacts")
      .values({ ...artifact, ...blob, uploaded_at: 1 })
      .execute();
  });
  writeTemporal("first");
  return blob.sha256;
}

function writeTemporal(value: string): void {
  const database = new DatabaseSync(path.join(stateDir, "temporal.db"));
  database.exec("pragma journal_mode = wal; create table if not exists namespaces (name text)");
  database.prepare("insert into namespaces values (?)").run(value);
  database.close();
}

function namespaces(): readonly string[] {
  const database = new DatabaseSync(path.join(stateDir, "temporal.db"), { readOnly: true });
  const rows = database.prepare("select name from namespaces").all();
  database.close();
  return rows.map(({ name }) => String(name));
}

const backup = (): ReturnType<typeof makeBackup> => makeBackup({ stateDir, file, perdure: "0.0.0-test" });

async function artifactText(sha256: string): Promise<string> {
  await using store = await openStore(stateDir);
  return await text(await store.blobs.open(sha256));
}

describe("backup", () => {
  test("holds both databases and the artifacts, and restores them into an empty folder", async () => {
    const sha256 = await makeState("kept");
    const { manifest, missing } = await backup();
    rmSync(stateDir, { recursive: true });

    const restored = await restoreBackup({ stateDir, file });

    expect(missing).toBe(0);
    expect(manifest.entries.map(({ name }) => name.slice(0, 8))).toEqual([
      "perdure.",
      "temporal",
      `blobs/${sha256.slice(0, 2)}`,
    ]);
    expect(restored.aside).toBeUndefined();
    expect(await artifactText(sha256)).toBe("kept");
    expect(namespaces()).toEqual(["first"]);
    expect(existsSync(path.join(stateDir, "temporal.db.ok"))).toBe(true);
  });

  test("is readable to its owner only, and leaves nothing beside it", async () => {
    await makeState("kept");
    await backup();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).sort()).toEqual(["kept.tar", "state"]);
    expect(readdirSync(stateDir).filter((name) => name.startsWith("backup-"))).toEqual([]);
  });

  test("is consistent while another connection writes both tables of a pair in every transaction", async () => {
    await makeState("kept");
    await using store = await openStore(stateDir);
    let isOver = false;
    const writing = (async () => {
      for (let n = 0; !isOver; n++) {
        await setImmediate(); // SQLite answers at once, and nothing else would ever have its turn.
        await store.database.write(async (tx) => {
          await tx
            .insertInto("settings")
            .values({ name: `left-${n}`, value: randomBytes(2_000).toString("hex") })
            .execute();
          await tx
            .insertInto("settings")
            .values({ name: `right-${n}`, value: "" })
            .execute();
        });
      }
    })();
    await backup();
    isOver = true;
    await writing;
    rmSync(path.join(folder, "other"), { recursive: true, force: true });
    const other = path.join(folder, "other");
    await restoreBackup({ stateDir: other, file });

    await using restored = await openStore(other);
    const rows = await restored.database.read.selectFrom("settings").select("name").execute();
    const count = (side: string): number => rows.filter(({ name }) => name.startsWith(side)).length;
    expect(count("left-")).toBe(count("right-"));
  });

  test("is made without an artifact that is lost already, and says so", async () => {
    const sha256 = await makeState("kept");
    rmSync(path.join(stateDir, "blobs", sha256.slice(0, 2), sha256));
    expect((await backup()).missing).toBe(1);
  });

  test("refuses an existing file, a folder without a stack, and a damaged database", async () => {
    await expect(backup()).rejects.toThrow("there is nothing to back up");
    await makeState("kept");
    writeFileSync(file, "mine");
    await expect(backup()).rejects.toThrow("exists already");
    expect(readFileSync(file, "utf8")).toBe("mine");
    rmSync(file);
    writeFileSync(path.join(stateDir, "temporal.db"), "no database at all");
    await expect(backup()).rejects.toThrow(/temporal\.db cannot be copied/);
    expect(existsSync(file)).toBe(false);
  });

  test("does not pass on an artifact whose bytes were damaged on the disk", async () => {
    const sha256 = await makeState("kept");
    writeFileSync(path.join(stateDir, "blobs", sha256.slice(0, 2), sha256), "bent");
    await expect(backup()).rejects.toThrow(`${sha256} is not as it was`);
    expect(readdirSync(folder)).toEqual(["state"]);
  });

  test("clears away what a killed backup left", async () => {
    await makeState("kept");
    mkdirSync(path.join(stateDir, "backup-999999999"));
    await backup();
    expect(readdirSync(stateDir).filter((name) => name.startsWith("backup-"))).toEqual([]);
  });
});

describe("restore", () => {
  test("moves the state that is there aside, with its write-ahead logs", async () => {
    const sha256 = await makeState("kept");
    await backup();
    writeTemporal("later");
    writeFileSync(path.join(stateDir, "temporal.db-wal"), "");

    const { aside } = await restoreBackup({ stateDir, file });

    expect(namespaces()).toEqual(["first"]);
    expect(await artifactText(sha256)).toBe("kept");
    expect(readdirSync(aside ?? "")).toEqual(
      expect.arrayContaining(["blobs", "perdure.db", "temporal.db", "temporal.db-wal"]),
    );
  });

  test("is refused while a stack holds the state directory", async () => {
    await makeState("kept");
    await backup();
    const holder = StateDirectory.claim(stateDir);
    await expect(restoreBackup({ stateDir, file })).rejects.toThrow(/another perdure holds/);
    holder.release();
  });

  test.each([
    ["a file that is cut off", () => truncateSync(file, statSync(file).size - 4_096)],
    ["a file with one wrong byte", () => flipByte(file)],
    ["a file that is no tar", () => writeFileSync(file, randomBytes(5_000))],
    ["an empty file", () => writeFileSync(file, "")],
  ])("refuses %s, and leaves the state as it was", async (_, damage) => {
    await makeState("kept");
    await backup();
    writeTemporal("later");
    damage();

    await expect(restoreBackup({ stateDir, file })).rejects.toThrow(/kept\.tar is/);

    expect(namespaces()).toEqual(["first", "later"]);
    expect(existsSync(path.join(stateDir, "restoring", "ready"))).toBe(false);
  });

  test.each(["../outside", "/etc/perdure", "blobs/ab/short", "supervisor.lock"])(
    "refuses a tar whose manifest names %s",
    async (name) => {
      const manifest = {
        format: 1,
        perdure: "0",
        madeAt: 1,
        sessions: 0,
        entries: [{ name, bytes: 1, sha256: "0".repeat(64) }],
      };
      const body = Buffer.from(JSON.stringify(manifest));
      writeFileSync(
        file,
        await packTar([{ header: { name: "perdure-backup.json", size: body.length, type: "file" }, body }]),
      );
      await expect(restoreBackup({ stateDir, file })).rejects.toThrow(/its manifest is wrong/);
    },
  );

  test("killed at any instant it leaves the old state or completes the new one", async () => {
    const sha256 = await makeState("kept");
    await backup();
    const seen = new Set<string>();
    for (let round = 0; round < 6; round++) {
      rmSync(stateDir, { recursive: true });
      await makeState("other");
      writeTemporal("later");
      await killedRestore(round * 50);
      const { aside } = await restoreAgain();
      seen.add(aside === undefined ? "none" : "aside");
      expect(namespaces()).toEqual(["first"]);
      expect(await artifactText(sha256)).toBe("kept");
      const kept = readdirSync(stateDir).filter((name) => name.startsWith("replaced-"));
      const all = kept.flatMap((name) => readdirSync(path.join(stateDir, name)));
      expect(all.filter((name) => name === "perdure.db").length).toBeGreaterThanOrEqual(1);
    }
    expect(seen).toContain("aside");
  }, 60_000);
});

describe("Temporal's database without its .ok file", () => {
  test("is used when it is whole", async () => {
    await makeState("kept");
    const settled = settleDatabase(path.join(stateDir, "temporal.db"));
    expect(settled?.kept).toBe(true);
    expect(namespaces()).toEqual(["first"]);
  });

  test.each([
    ["a half-made schema", (place: string) => new DatabaseSync(place).exec("create table schema_version (v text)")],
    ["no database", (place: string) => writeFileSync(place, "something of somebody's")],
  ])("is moved aside when it is %s", (_, make) => {
    mkdirSync(stateDir);
    const place = path.join(stateDir, "temporal.db");
    make(place);
    const before = readFileSync(place);

    const settled = settleDatabase(place);

    const aside = readdirSync(stateDir).filter(
      (name) => name.startsWith("temporal.db.unusable-") && !/-(wal|shm)$/.test(name),
    );
    expect(settled).toMatchObject({ kept: false, message: expect.stringContaining("was moved to") });
    expect(existsSync(place)).toBe(false);
    expect(readFileSync(path.join(stateDir, aside[0] ?? ""))).toEqual(before);
  });
});

test("a backup can be verified by itself", async () => {
  await makeState("kept");
  const { manifest } = await backup();
  expect(await verifyBackup(file)).toEqual(manifest);
});

function flipByte(place: string): void {
  const bytes = readFileSync(place);
  const at = bytes.length - 20_000;
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  writeFileSync(place, bytes);
}

/** In a process of its own, which is killed after that long. */
async function killedRestore(afterMs: number): Promise<void> {
  const code =
    "const { restoreBackup } = await import(process.argv[1]); process.stdout.write('begun'); await restoreBackup({ stateDir: process.argv[2], file: process.argv[3] });";
  const module = path.resolve("cli/backup/restore-backup.ts");
  const child = spawn(process.execPath, ["--input-type=module", "-e", code, module, stateDir, file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  await Promise.race([once(child.stdout, "data"), ended]);
  await Promise.race([delay(afterMs), ended]);
  child.kill("SIGKILL");
  await ended;
}

async function restoreAgain(): Promise<{ aside: string | undefined }> {
  return await restoreBackup({ stateDir, file });
}
