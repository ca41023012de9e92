/** A container of the stand-in engine: a folder that is its root, and one pid namespace that all its programs share. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";

/** What of this host is seen inside, and may not be written. */
const SYSTEM = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib64",
  "/etc/alternatives",
  "/etc/ld.so.cache",
  "/etc/passwd",
  "/etc/group",
];
/** Left out of a copy: they are made anew with each container. */
const MADE_ANEW = new Set(["proc", "dev", "usr", "bin", "sbin", "lib", "lib64"]);

/** Why no such container can be made here; undefined when one can. */
export function whyNoStandIn(): string | undefined {
  if (process.platform !== "linux") return "the stand-in engine needs Linux";
  for (const [program, flag] of [
    ["bwrap", "--version"],
    ["nsenter", "--version"],
  ] as const) {
    if (spawnSync(program, [flag], { stdio: "ignore" }).status !== 0) return `the stand-in engine needs ${program}`;
  }
  const tried = spawnSync("bwrap", ["--ro-bind", "/", "/", "--unshare-user", "--unshare-pid", "true"], {
    stdio: "ignore",
  });
  return tried.status === 0 ? undefined : "the stand-in engine needs user namespaces, which are forbidden here";
}

export type ContainerState = "created" | "running" | "exited";

export class StandInContainer {
  readonly id: string;
  readonly name: string;
  readonly configuration: Readonly<Record<string, unknown>>;
  readonly folder: string;
  #init: ChildProcess | undefined;
  #pid = 0;
  #wasStarted = false;
  #starting: Promise<void> | undefined;

  constructor(made: {
    readonly id: string;
    readonly name: string;
    readonly configuration: Readonly<Record<string, unknown>>;
    readonly folder: string;
    readonly from: string | undefined;
  }) {
    this.id = made.id;
    this.name = made.name;
    this.configuration = made.configuration;
    this.folder = made.folder;
    mkdirSync(made.folder, { recursive: true });
    if (made.from !== undefined) cpSync(made.from, made.folder, { recursive: true, verbatimSymlinks: true });
    for (const folder of ["tmp", "workspace", "etc"]) mkdirSync(path.join(made.folder, folder), { recursive: true });
  }

  get state(): ContainerState {
    if (this.#init !== undefined && this.#init.exitCode === null && this.#init.signalCode === null) return "running";
    return this.#wasStarted ? "exited" : "created";
  }

  get pid(): number {
    return this.state === "running" ? this.#pid : 0;
  }

  async start(): Promise<void> {
    this.#starting ??= this.#startInit();
    await this.#starting;
  }

  /** A program in it. Its standard streams are pipes. */
  run(argv: readonly string[], environment: readonly string[]): ChildProcess {
    const inside = ["-t", String(this.#pid), "-U", "--preserve-credentials", "-m", "-p", "-n", "-i", "-u"];
    const variables = [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "HOSTNAME=perdure",
      ...environment,
    ];
    const script = 'cd /workspace; exec env -i "$@"';
    return spawn("nsenter", [...inside, "sh", "-c", script, "sh", ...variables, ...argv], {
      stdio: "pipe",
      detached: true,
    });
  }

  /** Ends all that runs in it, as the death of its machine would. */
  async kill(): Promise<void> {
    const init = this.#init;
    if (init === undefined || this.state !== "running") return;
    const gone = once(init, "exit");
    process.kill(this.#pid, "SIGKILL");
    await gone;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  }

  copyTo(folder: string): void {
    mkdirSync(folder, { recursive: true });
    cpSync(this.folder, folder, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !MADE_ANEW.has(path.relative(this.folder, source)),
    });
  }

  async #startInit(): Promise<void> {
    const system = SYSTEM.flatMap((place) => ["--ro-bind-try", place, place]);
    const init = spawn(
      "bwrap",
      [
        ...["--bind", this.folder, "/", ...system, "--proc", "/proc", "--dev", "/dev"],
        ...[
          "--unshare-user",
          "--uid",
          "0",
          "--gid",
          "0",
          "--unshare-pid",
          "--unshare-net",
          "--unshare-ipc",
          "--unshare-uts",
        ],
        ...[
          "--die-with-parent",
          "--info-fd",
          "3",
          "--as-pid-1",
          "sh",
          "-c",
          "trap : TERM; while :; do sleep 3600 & wait; done",
        ],
      ],
      { stdio: ["ignore", "ignore", "ignore", "pipe"] },
    );
    this.#init = init;
    this.#wasStarted = true;
    let told = "";
    for await (const piece of init.stdio[3] as AsyncIterable<Buffer>) {
      told += piece.toString();
      const pid = /"child-pid":\s*(\d+)/.exec(told)?.[1];
      if (pid === undefined || !told.includes("}")) continue;
      this.#pid = Number(pid);
      break;
    }
    if (this.#pid === 0) throw new Error("bwrap ended before its child began");
    await this.#untilReady();
  }

  /** The child is there before its root is. */
  async #untilReady(): Promise<void> {
    const deadline = Date.now() + 5_000;
    while (Date.now() < deadline && this.state === "running") {
      const look = this.run(["sh", "-c", "[ -d /workspace ] && [ ! -e /.pivot ] && [ -d /proc/1 ]"], []);
      const [code] = await once(look, "exit");
      if (code === 0) return;
    }
    throw new Error("the container did not get ready");
  }
}
