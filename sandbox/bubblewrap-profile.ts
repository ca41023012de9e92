/**
 * What a command of the provider `bubblewrap` sees of its host: a read-only system, its workspace, a small /tmp, its spools to
 * read, and nothing else.
 *
 * Two of bwrap's inits stand between the supervisor and the command. The command's own one has the same user as the command,
 * which may therefore trace it and make it do whatever the init could: so the init must not share a process group with the
 * supervisor, which it could then kill. The outer one lies out of reach, in a user and a process namespace above; it is in the
 * supervisor's group, and KILL to that group ends everything inside, also what has left every group and session there.
 */
import { randomUUID } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { LIMITS } from "../contract/limits.ts";
import { syscallFilter } from "./syscall-filter.ts";

export const INSIDE = { workspace: "/workspace", calls: "/perdure/calls" } as const;
/** Both bwraps are given their rules by this descriptor, so that no list of processes shows them. */
export const PROFILE_DESCRIPTOR = 5;
/** The filter of system calls comes by this one, and lies beside the profile. */
export const FILTER_DESCRIPTOR = 6;
export const FILTER_FILE = "filter";

const MIB = 1024 * 1024;
const SHARED_MEMORY_BYTES = 64 * MIB;
const USER_ID = "1000";

/** Of the host's /etc what programs need to run, without keys: certificates, the linker's cache, names of ports and zones. */
const SHOWN_OF_ETC = [
  ...["alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "crypto-policies", "fonts", "inputrc"],
  ...["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types", "os-release", "perl"],
  ...["pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "python3", "services"],
  ...["ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone"],
];

const MADE_UP: Readonly<Record<string, string>> = {
  passwd: `root:x:0:0:root:/root:/bin/sh\nsandbox:x:${USER_ID}:${USER_ID}:sandbox:${INSIDE.workspace}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n`,
  group: `root:x:0:\nsandbox:x:${USER_ID}:\nnogroup:x:65534:\n`,
  hosts: "127.0.0.1 localhost perdure\n::1 localhost\n",
  hostname: "perdure\n",
  "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
  "resolv.conf": "",
};

export interface ProfileParts {
  /** The sandbox's folder on the host. */
  readonly folder: string;
  /** Further folders of the host, shown read-only under their own names. */
  readonly readOnly: readonly string[];
  /** Shown read-only under other names. */
  readonly binds: readonly { readonly source: string; readonly target: string }[];
}

/** bwrap's arguments for the command's own namespaces. Writes what it makes up into the folder. */
export function profileArguments({ folder, readOnly, binds }: ProfileParts): readonly string[] {
  const etc = path.join(folder, "etc");
  const shownOfEtc = composeEtc(etc);
  const tmpfs = (place: string, bytes: number): readonly string[] => [
    ...["--perms", "1777", "--size", String(bytes), "--tmpfs", place],
  ];
  return [
    ...["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
    ...["--disable-userns", "--uid", USER_ID, "--gid", USER_ID, "--hostname", "perdure", "--cap-drop", "ALL"],
    ...systemFolders(),
    ...[
      "--proc",
      "/proc",
      ...kernelFiles(),
      "--dev",
      "/dev",
      ...tmpfs("/dev/shm", SHARED_MEMORY_BYTES),
      "--remount-ro",
      "/dev",
    ],
    ...tmpfs("/tmp", LIMITS.sandboxTemporaryMiB * MIB),
    ...[
      "--dir",
      "/run",
      "--dir",
      "/var",
      "--symlink",
      "../tmp",
      "/var/tmp",
      "--dir",
      "/root",
      "--ro-bind",
      etc,
      "/etc",
    ],
    ...shownOfEtc.flatMap((name) => ["--ro-bind-try", `/etc/${name}`, `/etc/${name}`]),
    ...readOnly.flatMap((shown) => ["--ro-bind-try", shown, shown]),
    ...["--bind", path.join(folder, "workspace"), INSIDE.workspace],
    ...["--ro-bind", path.join(folder, "calls"), INSIDE.calls],
    ...binds.flatMap(({ source, target }) => ["--ro-bind", source, target]),
    ...["--remount-ro", "/"],
    ...(syscallFilter() === undefined ? [] : ["--seccomp", String(FILTER_DESCRIPTOR)]),
  ];
}

/** /usr, and what of the root is a name for a part of it or, on older systems, a folder of its own. */
function systemFolders(): readonly string[] {
  return [
    ...["--ro-bind", "/usr", "/usr"],
    ...["/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"].flatMap((name) => {
      const stats = lstatSync(name, { throwIfNoEntry: false });
      if (stats === undefined) return [];
      return stats.isSymbolicLink() ? ["--symlink", readlinkSync(name), name] : ["--ro-bind", name, name];
    }),
  ];
}

/**
 * A worker that is root is root to the kernel's own files inside too, whatever rights it has given up: they go by the number
 * of the user. So what may be written of them is shown read-only, and what only root may read is not shown.
 */
function kernelFiles(): readonly string[] {
  if (process.getuid?.() !== 0) return [];
  return readdirSync("/proc").flatMap((name) => {
    const place = `/proc/${name}`;
    const stats = /^\d+$/.test(name) ? undefined : lstatSync(place, { throwIfNoEntry: false });
    if (stats === undefined || stats.isSymbolicLink()) return [];
    if (hasWritable(place)) return ["--ro-bind", place, place];
    return (stats.mode & 0o044) === 0 ? ["--ro-bind", "/dev/null", place] : [];
  });
}

/** Whether anything in it may be written by its owner, as far as it goes; looked at for each sandbox, not for each command. */
function hasWritable(place: string, depth = 3): boolean {
  try {
    const stats = lstatSync(place);
    if (stats.isSymbolicLink()) return false;
    if (!stats.isDirectory()) return (stats.mode & 0o222) !== 0;
    return depth === 0 || readdirSync(place).some((name) => hasWritable(path.join(place, name), depth - 1));
  } catch {
    return true;
  }
}

/** Writes them as `--args` reads them, and the filter beside them. */
export function writeProfile(file: string, given: readonly string[]): void {
  replaceText(path.join(path.dirname(file), FILTER_FILE), syscallFilter() ?? "");
  replaceText(file, given.map((word) => `${word}\0`).join(""));
}

/** Puts together what is shown as /etc, and tells which folders of the host's are shown in it: each mount costs every command. */
function composeEtc(etc: string): readonly string[] {
  mkdirSync(etc, { recursive: true });
  for (const [name, text] of Object.entries(MADE_UP)) replaceText(path.join(etc, name), text);
  return SHOWN_OF_ETC.filter((name) => {
    const stats = statSync(`/etc/${name}`, { throwIfNoEntry: false });
    if (stats === undefined) return false;
    const place = path.join(etc, name);
    mkdirSync(path.dirname(place), { recursive: true });
    if (stats.isDirectory()) mkdirSync(place, { recursive: true });
    else if (stats.isFile()) replaceText(place, readFileSync(`/etc/${name}`));
    return stats.isDirectory();
  });
}

/** At once, and only when it is another: commands may be on their way in by the one that is there. */
function replaceText(file: string, text: string | Uint8Array): void {
  if (existsSync(file) && readFileSync(file).equals(Buffer.from(text))) return;
  const written = `${file}.${randomUUID()}`;
  writeFileSync(written, text);
  renameSync(written, file);
}

/** What of the host's programs is used on the way in. */
export interface Entrance {
  readonly bwrap: string;
  /** Whether `env` can give a program its signals back. Without it a command hears no TERM, and is killed after the grace. */
  readonly resetsSignals: boolean;
}

/** The outer init, then the command's namespaces, then `inner`, which begins in `cwd`. */
export function entranceArguments(
  { bwrap, resetsSignals }: Entrance,
  { parts, cwd, inner }: { readonly parts: ProfileParts; readonly cwd: string; readonly inner: readonly string[] },
): readonly string[] {
  return [
    // The outer init stays in the supervisor's group. The inner one leads a new one, and it is the command's.
    ...[bwrap, "--unshare-user", "--unshare-pid", ...outerFolders(parts), "--"],
    ...[bwrap, "--args", String(PROFILE_DESCRIPTOR), "--new-session", "--chdir", cwd, "--"],
    ...(resetsSignals ? ["/usr/bin/env", "--default-signal=HUP,INT,QUIT,TERM"] : []),
    ...inner,
  ];
}

/**
 * What the inner bwrap needs of the host to do its work, under its own names. Not the whole root: a mount of the host that
 * goes while all of them are taken over would make the way in fail.
 */
function outerFolders({ folder, readOnly, binds }: ProfileParts): readonly string[] {
  const shown = [...readOnly, ...binds.map(({ source }) => source)];
  return [
    ...systemFolders(),
    ...["--dev-bind", "/dev", "/dev", "--dev-bind", "/proc", "/proc", "--ro-bind", "/etc", "/etc"],
    ...shown.flatMap((one) => ["--ro-bind-try", one, one]),
    ...["--bind", folder, folder],
  ];
}

/** A terminal needs no supervisor, and its shell must stay in the session that the terminal belongs to. */
export function terminalArguments({ bwrap }: Entrance, inner: readonly string[]): readonly string[] {
  const place = ["--chdir", INSIDE.workspace];
  return [bwrap, "--die-with-parent", "--args", String(PROFILE_DESCRIPTOR), ...place, "--", ...inner];
}
