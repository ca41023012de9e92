/** The filter of system calls: as the kernel would run it for each processor, and what programs in bubblewrap meet. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { syscallFilter } from "../../sandbox/syscall-filter.ts";
import { newCallId, run, text, watch } from "./commands.ts";

const AUDIT = { x64: 0xc000003e, arm64: 0xc00000b7, i386: 0x40000003, arm: 0x40000028 } as const;
const ALLOWED = "allowed";

interface Call {
  readonly audit: number;
  readonly number: number;
  readonly args?: readonly number[];
}

/** Runs the program as the kernel does, with the few instructions that it is made of. */
function verdict(filter: Buffer, { audit, number, args = [] }: Call): number | typeof ALLOWED {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(audit, 4);
  for (const [index, value] of args.entries()) data.writeUInt32LE(value >>> 0, 16 + 8 * index);
  let loaded = 0;
  for (let at = 0; at < filter.length; at += 8) {
    const value = filter.readUInt32LE(at + 4);
    const jump = (holds: boolean): void => {
      at += 8 * filter.readUInt8(at + (holds ? 2 : 3));
    };
    switch (filter.readUInt16LE(at)) {
      case 0x20:
        loaded = data.readUInt32LE(value);
        break;
      case 0x15:
        jump(loaded === value);
        break;
      case 0x35:
        jump(loaded >= value);
        break;
      case 0x45:
        jump((loaded & value) !== 0);
        break;
      case 0x06:
        return value === 0x7fff0000 ? ALLOWED : value & 0xffff;
      default:
        throw new Error(`an instruction that is not known at ${at}`);
    }
  }
  throw new Error("the program has no end");
}

const filterFor = (architecture: string): Buffer => syscallFilter(architecture) ?? Buffer.alloc(0);

describe.each([
  {
    name: "x64",
    forbidden: [248, 249, 250, 323, 321, 298, 246, 304, 165, 308, 428, 429, 442],
    allowed: [0, 1, 2, 9, 57, 59, 202, 231, 257, 262, 317, 318, 332, 334],
    calls: { socket: 41, clone: 56, unshare: 272, ioctl: 16, personality: 135, fallocate: 285 },
  },
  {
    name: "arm64",
    forbidden: [217, 218, 219, 282, 280, 241, 104, 265, 40, 268, 428, 429, 442],
    allowed: [56, 57, 63, 64, 93, 98, 134, 172, 214, 221, 222, 277, 278, 293],
    calls: { socket: 198, clone: 220, unshare: 97, ioctl: 29, personality: 92, fallocate: 47 },
  },
] as const)("on $name", ({ name, forbidden, allowed, calls }) => {
  const filter = filterFor(name);
  const ask = (number: number, ...args: readonly number[]) => verdict(filter, { audit: AUDIT[name], number, args });

  test("what no program of an agent needs is refused, and what programs need is not", () => {
    expect(forbidden.map((number) => ask(number))).toEqual(forbidden.map(() => 1));
    expect(allowed.map((number) => ask(number))).toEqual(allowed.map(() => ALLOWED));
    // io_uring and clone3 are said not to be there, so that programs take their other way.
    expect([425, 426, 427, 435].map((number) => ask(number))).toEqual([38, 38, 38, 38]);
  });

  test("sockets are those of the machine and of networks, not those of its host", () => {
    expect([1, 2, 10, 16].map((family) => ask(calls.socket, family))).toEqual([ALLOWED, ALLOWED, ALLOWED, ALLOWED]);
    expect([40, 17, 38, 31, 0].map((family) => ask(calls.socket, family))).toEqual([97, 97, 97, 97, 97]);
  });

  test("threads and processes are made, namespaces are not", () => {
    const thread = 0x3d0f00;
    expect([ask(calls.clone, thread), ask(calls.clone, 17), ask(calls.unshare, 0x400)]).toEqual([
      ALLOWED,
      ALLOWED,
      ALLOWED,
    ]);
    for (const flag of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]) {
      expect([ask(calls.clone, flag | 17), ask(calls.unshare, flag)]).toEqual([1, 1]);
    }
    expect(ask(calls.unshare, 0x80)).toBe(1);
  });

  test("nobody types for another, reserves space, or changes what a system call means", () => {
    expect([0x5412, 0x541c].map((command) => ask(calls.ioctl, 0, command))).toEqual([1, 1]);
    expect([0x5401, 0x5413].map((command) => ask(calls.ioctl, 0, command))).toEqual([ALLOWED, ALLOWED]);
    expect([0, 1, 0x10].map((mode) => ask(calls.fallocate, 3, mode))).toEqual([95, 95, 95]);
    expect([3, 8].map((mode) => ask(calls.fallocate, 3, mode))).toEqual([ALLOWED, ALLOWED]);
    expect([0, 0xffffffff].map((persona) => ask(calls.personality, persona))).toEqual([ALLOWED, ALLOWED]);
    expect([0x40000, 0x400000].map((persona) => ask(calls.personality, persona))).toEqual([1, 1]);
  });

  test("calls of another convention are not made at all", () => {
    for (const audit of Object.values(AUDIT).filter((one) => one !== AUDIT[name])) {
      expect(verdict(filter, { audit, number: 1 })).toBe(38);
    }
    if (name === "x64") expect(ask(0x40000000 + 1)).toBe(38);
  });
});

test("for another processor there is no filter", () => {
  expect(syscallFilter("riscv64")).toBeUndefined();
});

const found = await detectBubblewrap();
const root = mkdtempSync(path.join(os.tmpdir(), "perdure-filter-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const CALLS = `
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
b = ctypes.create_string_buffer(256)
def call(name, number, *args):
    ctypes.set_errno(0)
    got = libc.syscall(number, *args)
    print(name, "called" if got >= 0 else errno.errorcode[ctypes.get_errno()])
call("add_key", 248, b"user", b"perdure", b"x", 1, -3)
call("request_key", 249, b"user", b"perdure", None, 0)
call("keyctl", 250, 0, -3, 0)
call("io_uring_setup", 425, 1, b)
call("userfaultfd", 323, 0)
call("userfaultfd user mode", 323, 1)
call("bpf", 321, 0, b, 72)
call("perf_event_open", 298, b, 0, -1, -1, 0)
call("open_tree", 428, -100, b"/", 1)
call("fsopen", 430, b"tmpfs", 0)
call("clone3", 435, b, 88)
call("unshare", 272, 0x10000000)
call("personality", 135, 0x40000)
call("x32 getpid", 0x40000000 + 39)
call("fallocate", 285, os.open("f", 66), 0, 0, 4096)
for family in (40, 38, 31):
    try: socket.socket(family, 1); print("family", family, "opened")
    except OSError as e: print("family", family, errno.errorcode[e.errno])
`;

/** By int 0x80, whose numbers are those of 32 bits: 20 is getpid. */
const OLD_CONVENTION = `
#include <stdio.h>
int main(void) { long got; __asm__ volatile("int $0x80" : "=a"(got) : "a"(20) : "memory"); printf("%ld\\n", got); return 0; }
`;

describe.skipIf(!found.works || process.arch !== "x64")(
  found.works ? "bubblewrap" : `bubblewrap (skipped: ${found.reason})`,
  { timeout: 60_000 },
  () => {
    const provider = createBubblewrapProvider({ root });

    test("a command and a terminal meet the filter", async () => {
      const sandbox = await provider.open("sbx_filter_calls");
      await sandbox.writeFile("calls.py", Buffer.from(CALLS));
      const expected = [
        ...["add_key EPERM", "request_key EPERM", "keyctl EPERM", "io_uring_setup ENOSYS", "userfaultfd EPERM"],
        ...["userfaultfd user mode EPERM", "bpf EPERM", "perf_event_open EPERM", "open_tree EPERM", "fsopen EPERM"],
        ...["clone3 ENOSYS", "unshare EPERM", "personality EPERM", "x32 getpid ENOSYS", "fallocate ENOTSUP"],
        ...["family 40 EAFNOSUPPORT", "family 38 EAFNOSUPPORT", "family 31 EAFNOSUPPORT"],
      ];

      const ran = await run(sandbox, "python3 calls.py");
      const terminal = await sandbox.openTerminal?.({ columns: 200, rows: 50 });
      terminal?.write(Buffer.from("python3 calls.py; exit\n"));
      let printed = "";
      for await (const piece of terminal?.output ?? []) printed += text(piece);

      expect(text(ran.stdout).trim().split("\n")).toEqual(expected);
      for (const line of expected) expect(printed).toContain(line);
      await terminal?.close();
      await provider.remove(sandbox.id);
    });

    test("calls by the convention of 32 bits are refused", async ({ skip }) => {
      const program = path.join(root, "old");
      try {
        writeFileSync(`${program}.c`, OLD_CONVENTION);
        execFileSync("gcc", ["-o", program, `${program}.c`], { stdio: "ignore" });
      } catch {
        skip("there is no compiler");
      }
      const wide = createBubblewrapProvider({ root, readOnly: [program] });
      const sandbox = await wide.open("sbx_filter_old");

      const ran = await run(sandbox, program);

      expect(text(ran.stdout)).toBe("-38\n");
      await wide.remove(sandbox.id);
    });

    const node = process.execPath;
    const TOOLS = [
      [
        "node",
        `${node} -e 'require("fs").promises.writeFile("n", "1").then(() => new (require("worker_threads").Worker)("console.log(require(\\"child_process\\").execSync(\\"echo well\\").toString().trim())", { eval: true }))'`,
      ],
      [
        "python",
        'python3 -c \'import concurrent.futures as c, subprocess as s; print(*c.ThreadPoolExecutor(4).map(lambda _: s.check_output("echo"), range(4)) and ["well"])\'',
      ],
      [
        "git",
        "git init -q g && cd g && git config user.email a@b && git config user.name a && echo x >f && git add f && git commit -qm x && git log --oneline | wc -l | sed s/1/well/",
      ],
      ["gcc", "printf '#include <stdio.h>\\nint main(void){puts(\"well\");}' >m.c && gcc -o m m.c && ./m"],
      ["go", "go version >/dev/null && echo well"],
      ["perl", 'perl -e \'system("true"); print "well\\n"\''],
      ["tar", "mkdir t && echo x >t/f && tar -czf t.tgz t && tar -tzf t.tgz | tail -n 1 | sed s,t/f,well,"],
      ["strace of one's own process", "strace -f -o /dev/null echo well"],
    ] as const;
    const shown = [path.dirname(path.dirname(node)), "/usr/local/go", path.resolve("node_modules")].filter(existsSync);

    test.each(TOOLS)("%s works behind it", async (tool, command) => {
      const wide = createBubblewrapProvider({ root, readOnly: shown });
      const sandbox = await wide.open(`sbx_filter_${tool.replaceAll(/\W/g, "_")}`);
      const callId = newCallId();
      const looked = `PATH=$PATH:/usr/local/go/bin; command -v ${command.startsWith("/") ? node : (/(?:&& )?(\w+)/.exec(tool)?.[1] ?? "")} >/dev/null || { echo skipped; exit; }; ${command}`;

      await sandbox.start({ callId, command: looked, timeoutMs: 50_000 });
      const ran = await watch(sandbox, callId);

      expect(text(ran.stdout).trim() + text(ran.stderr)).toMatch(/^(well|skipped)$/);
      await wide.remove(sandbox.id);
    });
  },
);
