/**
 * Programs that want out of their sandbox, each with what would show that it got there. A provider's test file runs them all by
 * `describeHostile`; the results are printed as a table. None of them connects beyond loopback or the test's own namespaces.
 */
import type { SandboxCapabilities, SandboxSpec } from "../../contract/sandbox.ts";
import type { CommandEnd, Sandbox } from "../../sandbox/provider.ts";
import { callsOf, isKilledKnown, reach, TRACE_INIT, withPython } from "./hostile-programs.ts";

/** What the test has put on the host for them to find. */
export interface HostileWorld {
  /** In every file, variable and answer that must not be seen. In two halves, so that no program contains it. */
  readonly mark: readonly [string, string];
  /** A file of the host that every user may read, with the mark in it. */
  readonly secretFile: string;
  /** Where the provider keeps its sandboxes. */
  readonly root: string;
  /** A listener on the host's 127.0.0.1 that answers every connection with the mark. */
  readonly port: number;
  /** A listener in a network namespace of the test's, reachable from the host; undefined where none could be made. */
  readonly elsewhere: { readonly host: string; readonly port: number } | undefined;
  /** Another sandbox, in which a process with the mark in its command line runs and whose file `secret` holds the mark. */
  readonly other: Sandbox;
}

export interface Attempt {
  readonly sandbox: Sandbox;
  readonly output: string;
  readonly end: CommandEnd | undefined;
  readonly callId: `call_${string}`;
}

export interface HostileProgram {
  readonly name: string;
  readonly command: (world: HostileWorld, spool: string) => string;
  /** What its output, stdout and stderr together, shows when it got there. The mark always does. */
  readonly broke?: RegExp | ((attempt: Attempt, world: HostileWorld) => boolean | Promise<boolean>);
  readonly spec?: SandboxSpec;
  readonly timeoutMs?: number;
  /** Why it says nothing about such a provider or host; undefined when it does. */
  readonly skip?: (capabilities: SandboxCapabilities, world: HostileWorld) => string | undefined;
}

const LIMITED: SandboxSpec = { memoryMiB: 256, processesMax: 200, diskMiB: 64 };
const onlySharedSystem = ({ images }: SandboxCapabilities) =>
  images ? "the system inside is its image's own" : undefined;
const heldBy = (means: "disk" | "memory" | "processes") => (capabilities: SandboxCapabilities) =>
  capabilities[means] === "none" ? `this provider says that it does not hold ${means}` : undefined;

export const HOSTILE_PROGRAMS: readonly HostileProgram[] = [
  {
    name: "read the host's /etc/shadow",
    command: () => "cat /etc/shadow /proc/1/roo?/etc/shadow",
    broke: /^\w+:[$!*][^:]*:\d+:\d+:/m,
    skip: onlySharedSystem,
  },
  {
    name: "read a file in the host's folders",
    command: ({ secretFile }) => `cat ${secretFile} /proc/*/root${secretFile}`,
  },
  {
    name: "list the homes of the host",
    command: () => "ls -A /root; ls -A /home",
    broke: ({ output }) => output.split("\n").some((line) => line !== "" && !line.startsWith("ls:")),
    skip: onlySharedSystem,
  },
  {
    name: "read the folder of all sandboxes",
    command: ({ root, other }) => `ls ${root} 2>/dev/null; cat ${root}/${other.id}/workspace/secret 2>/dev/null`,
    broke: /sbx_/,
  },
  {
    name: "find another session's file anywhere",
    command: () =>
      "find / -xdev -name secret -exec cat {} + 2>/dev/null; cat /workspace/../*/secret /perdure/*/*/secret",
  },
  { name: "read the environments of all processes", command: () => "cat /proc/[0-9]*/environ | tr '\\0' '\\n'" },
  {
    name: "learn the host's paths from the first process",
    command: ({ root }) =>
      `tr '\\0' '\\n' </proc/1/environ; tr '\\0' '\\n' </proc/1/cmdline | grep -v '^r=' | grep -F "$(printf %s '${root.slice(0, -3)}')${root.slice(-3)}" && echo learned`,
    broke: /^learned/m,
  },
  {
    name: "see or signal another sandbox's processes",
    command: ({ mark }) =>
      `m=${mark[0]}; for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q "$m"${mark[1]} && kill -9 \${p#/proc/} && echo signalled; done`,
    broke: /signalled/,
  },
  { name: "reach a listener on the host's 127.0.0.1", command: ({ port }) => reach("127.0.0.1", port) },
  {
    name: "reach a listener in another network namespace",
    command: ({ elsewhere }) => reach(elsewhere?.host ?? "", elsewhere?.port ?? 0),
    skip: (_, { elsewhere }) => (elsewhere ? undefined : "no network namespace could be made"),
  },
  {
    name: "reach the host through an interface or a route",
    command: () => "cat /proc/net/route /proc/net/dev | grep -v -e 'lo:' -e Iface -e Inter -e face",
    broke: /\w+:|^\w+\t/m,
  },
  {
    name: "connect to a host that is off the list",
    command: () =>
      "if command -v curl >/dev/null; then curl -sS -m 5 http://off-the-list.invalid/; curl -sS -m 5 https://off-the-list.invalid/; else wget -qO- -T 5 http://off-the-list.invalid/; fi; echo asked",
    spec: { network: { allow: ["127.0.0.1:1"] } },
    broke: async ({ sandbox, output }) => {
      const { decisions } = await sandbox.networkDecisions(0);
      return !/asked/.test(output) || decisions.some(({ decision }) => decision !== "deny");
    },
  },
  {
    name: "go around the proxy to the host's 127.0.0.1",
    command: ({ port }) => reach("127.0.0.1", port),
    spec: { network: { allow: ["127.0.0.1:1"] } },
  },
  {
    name: "resolve names around the proxy",
    command: ({ port }) =>
      `getent hosts example.com && echo resolved; getent hosts perdure.invalid && echo resolved; ${withPython(`
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)
s.sendto(b"x", ("127.0.0.1", ${port}))
try:
    print(s.recv(100).decode())
except OSError as e: print("no answer", e)`)}`,
    broke: /^resolved/m,
  },
  {
    name: "connect to an abstract socket of the host",
    command: ({ port }) =>
      withPython(`
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(1)
s.connect(b"\\0perdure-hostile-${port}")
print(s.recv(100).decode())`),
  },
  {
    name: "open raw and packet sockets",
    command: () =>
      withPython(`
import socket
for family, kind, protocol in ((2, 3, 1), (17, 3, 768)):
    try:
        socket.socket(family, kind, protocol); print("opened", family)
    except OSError as e: print(e)`),
    broke: /^opened/m,
  },
  {
    name: "a fork bomb that stops itself after 2,000",
    command: () =>
      "sh -c 'i=0; while [ $i -lt 2000 ]; do sleep 4 & i=$((i + 1)); done' 2>/dev/null; set -- /proc/[0-9]*; echo $# processes",
    spec: LIMITED,
    skip: heldBy("processes"),
    broke: ({ output }) => Number(/(\d+) processes/.exec(output)?.[1] ?? 0) > 210,
  },
  {
    name: "fill the disk quota",
    command: () => "for i in 1 2 3 4 5 6 7 8 9; do head -c 60000000 /dev/zero > fill$i; sleep 0.4; done; echo filled",
    spec: LIMITED,
    skip: heldBy("disk"),
    broke: /^filled/m,
  },
  {
    name: "take more memory than there is",
    command: () => "head -c 1000000000 /dev/zero | tail -c 900000000 | wc -c; echo took",
    spec: LIMITED,
    skip: heldBy("memory"),
    broke: /^900000000/m,
  },
  {
    name: "fill /tmp and /dev/shm",
    command: () =>
      "head -c 700000000 /dev/zero > /tmp/fill; head -c 700000000 /dev/zero > /dev/shm/fill; wc -c /tmp/fill /dev/shm/fill",
    spec: LIMITED,
    skip: heldBy("memory"),
    broke: /^ *700000000/m,
  },
  {
    name: "fill what lies beside: /, /dev, /run",
    command: () => "for d in / /dev /run /var /etc /perdure; do echo x > $d/perdure-fill && echo filled $d; done",
    broke: /^filled/m,
    skip: onlySharedSystem,
  },
  {
    name: "write without end",
    command: () => "yes",
    timeoutMs: 800,
    broke: async ({ sandbox, callId }) => {
      const used = await callsOf(sandbox, `du -k "${sandbox.spoolPath(callId, "stdout")}"`);
      return Number.parseInt(used, 10) > 80 * 1024;
    },
  },
  {
    name: "make a tree too deep to be removed",
    command: () =>
      "i=0; while [ $i -lt 400 ]; do mkdir dddddddddd && cd dddddddddd || break; i=$((i + 1)); done 2>/dev/null; echo deep",
    broke: async ({ sandbox }) => !(await sandbox.removeFile("dddddddddd")),
  },
  {
    name: "lead the file API out by symlinks",
    command: ({ secretFile }) =>
      `ln -s ${secretFile} leak; ln -s / root; ln -s ../../../../../.. up; ln -s /proc/self/root self`,
    broke: async ({ sandbox }, { secretFile }) =>
      isAnyAllowed([
        () => sandbox.readFile("leak"),
        () => sandbox.readFile(`root${secretFile}`),
        () => sandbox.readFile(`up${secretFile}`),
        () => sandbox.readFile(`self${secretFile}`),
        () => sandbox.writeFile("root/tmp/perdure-hostile", new Uint8Array()),
      ]),
  },
  {
    name: "lead the file API out by `..` and absolute paths",
    command: () => "true",
    broke: async ({ sandbox }, { secretFile, root }) =>
      isAnyAllowed([
        () => sandbox.readFile("../spec.json"),
        () => sandbox.readFile(`../../../../../../../../..${secretFile}`),
        () => sandbox.readFile(secretFile),
        () => sandbox.readFile(`${root}/${sandbox.id}/spec.json`),
        () => sandbox.writeFile("../calls/x", new Uint8Array()),
        () => sandbox.removeFile("../calls"),
      ]),
  },
  {
    name: "link files of the host into the workspace",
    command: ({ secretFile }, spool) =>
      `for f in ${secretFile} /etc/passwd /usr/bin/env ${spool} /proc/self/fd/1; do ln -L $f hard 2>/dev/null && echo linked $f; rm -f hard; done`,
    broke: /^linked/m,
    skip: onlySharedSystem,
  },
  { name: "kill everything there is", command: () => "kill -9 -1; echo still here", broke: isKilledKnown },
  { name: "kill its own process group", command: () => "kill -9 0", broke: isKilledKnown },
  {
    name: "kill its parents one by one",
    command: () =>
      "p=$$; while [ $p -gt 0 ]; do p=$(sed 's/.*) //' /proc/$p/stat | cut -d' ' -f2); [ $p -gt 0 ] && echo $p && kill -9 $p; done",
    broke: isKilledKnown,
  },
  { name: "kill the supervisor through a traced init", command: () => TRACE_INIT, broke: isKilledKnown },
  {
    name: "forge its records and empty its spool",
    command: (_, spool) =>
      `d=$(dirname ${spool}); for f in exit go stop; do { echo "exited 0 ." > $d/$f; } 2>/dev/null && echo forged; done; touch $d/x && echo forged; mv $d $d.old && echo forged; rm -rf $d; [ -e ${spool} ] || echo forged; exit 7`,
    broke: ({ output, end }) => /^forged/m.test(output) || end?.ended !== "exited" || end.exitCode !== 7,
    skip: onlySharedSystem,
  },
  {
    name: "mount, remount and bind",
    command: () =>
      "mkdir -p m; for way in '-t tmpfs none m' '-t proc none m' '--bind /usr m' '-o remount,rw /usr' '-o remount,rw /' '-o remount,rw,bind /perdure/calls'; do mount $way 2>/dev/null && echo mounted $way; done; umount /proc /tmp /perdure/calls 2>/dev/null && echo mounted",
    broke: /^mounted/m,
  },
  {
    name: "make namespaces of its own",
    command: () => "for way in -U -Ur -Um -m -n -p; do unshare $way true 2>/dev/null && echo unshared $way; done",
    broke: /^unshared/m,
  },
  {
    name: "gain rights by setuid files",
    command: () =>
      "cp /bin/sh s; chmod 4755 s; ./s -p -c 'grep CapEff /proc/self/status'; su -c 'grep CapEff /proc/self/status' </dev/null; sudo -n grep CapEff /proc/self/status; grep -e CapEff -e CapBnd -e NoNewPrivs /proc/self/status",
    broke: /CapEff:\s*0*[1-9a-f]|NoNewPrivs:\s*0/,
  },
  {
    name: "write to the system",
    command: () =>
      "for f in /usr/bin/env /usr/x /bin/x /lib/x /etc/passwd /etc/x; do { : >> $f; } 2>/dev/null && echo wrote $f; done",
    broke: /^wrote/m,
    skip: onlySharedSystem,
  },
  {
    name: "write to the kernel's settings",
    command: () =>
      'for f in kernel/core_pattern kernel/hostname vm/overcommit_memory user/max_user_namespaces net/ipv4/ip_forward; do v=$(cat /proc/sys/$f) && { echo "$v" > /proc/sys/$f; } 2>/dev/null && echo wrote $f; done; { echo h > /proc/sysrq-trigger; } 2>/dev/null && echo wrote sysrq',
    broke: /^wrote/m,
  },
  {
    name: "make and read devices",
    command: () =>
      "mknod b b 254 0 2>/dev/null && echo made; mknod c c 1 1 2>/dev/null && echo made; for d in vda sda nvme0n1 mem kmem port kmsg kvm fuse loop0; do head -c 1 /dev/$d >/dev/null 2>&1 && echo read $d; done",
    broke: /^(made|read)/m,
  },
  {
    name: "raise its limits in the cgroup",
    command: () =>
      "for f in /sys/fs/cgroup/*/memory.limit_in_bytes /sys/fs/cgroup/*/pids.max /sys/fs/cgroup/memory.max /sys/fs/cgroup/cgroup.procs; do { echo 100000000000 > $f; } 2>/dev/null && echo raised $f; done; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x 2>/dev/null && echo raised",
    broke: /^raised/m,
  },
  {
    name: "chroot and pivot",
    command: () =>
      "mkdir -p r; chroot r true 2>/dev/null && echo changed; chroot / true 2>/dev/null && echo changed; pivot_root . r 2>/dev/null && echo changed",
    broke: /^changed/m,
  },
  {
    name: "call what only the kernel's owner may",
    command: () =>
      withPython(`
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
b = ctypes.create_string_buffer(256)
for name, number, args in (("bpf", 321, (0, b, 72)), ("init_module", 175, (b, 0, b)), ("kexec_load", 246, (0, 0, 0, 0)), ("swapon", 167, (b, 0)), ("settimeofday", 164, (b, None)), ("acct", 163, (b,)), ("open_by_handle_at", 304, (3, b, 0))):
    ctypes.set_errno(0)
    if libc.syscall(number, *args) >= 0: print("called", name)
    else: print(name, ctypes.get_errno())`),
    broke: /^called/m,
  },
  {
    name: "take the workspace away",
    command: () =>
      "cd /; mv /workspace /gone 2>/dev/null && echo moved; rmdir /workspace 2>/dev/null && echo moved; rm -rf /workspace 2>/dev/null; ln -s /etc /workspace 2>/dev/null",
    broke: async ({ sandbox, output }) => /^moved/m.test(output) || (await sandbox.stat("."))?.kind !== "folder",
    skip: onlySharedSystem,
  },
  {
    name: "use descriptors that somebody left open",
    command: () =>
      "for f in /proc/$$/fd/*; do case $f in */[012] | */255) ;; *) [ ! -L $f ] || echo leaked $f ;; esac; done; ls /proc/$$/fd/1/.. /proc/$$/cwd/.. | grep -x calls",
    broke: /^(leaked|calls)/m,
  },
];

async function isAnyAllowed(tries: readonly (() => Promise<unknown>)[]): Promise<boolean> {
  const allowed = await Promise.all(
    tries.map((attempt) =>
      attempt().then(
        () => true,
        () => false,
      ),
    ),
  );
  return allowed.includes(true);
}
