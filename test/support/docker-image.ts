/** An image for tests without any registry: programs of this host and the libraries that they load, as one tar. */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";

/** Where what takes seconds to make is kept; not in git. */
const CACHE = path.resolve(import.meta.dirname, "../../.cache/docker");
const PROGRAMS = `
  sh bash dash env cat ls mkdir rmdir rm mv cp ln dd wc head tail tr cut sort uniq seq sleep true false test printf echo
  touch stat chmod chown du df id whoami uname hostname date readlink realpath mkfifo mknod mktemp truncate tee yes md5sum
  sha256sum find xargs grep sed awk tar gzip setsid kill ps mount umount unshare nsenter chroot fallocate prlimit su timeout
  nohup sync stty tty getent perl python3 ip dmesg ulimit nproc curl wget nc
`;
/** What they need beside libraries, where this host has it. */
const FOLDERS = ["/usr/lib/x86_64-linux-gnu/perl-base", "/usr/lib/aarch64-linux-gnu/perl-base"];
const OWN_FILES = {
  "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
  "etc/group": "root:x:0:\nnogroup:x:65534:\n",
  "etc/shadow": "root:*:19000:0:99999:7:::\n",
  "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
};

/** The tar of such an image, made once for what this host has. A few seconds, then none. */
export async function hostImageTar(): Promise<string> {
  const programs = PROGRAMS.trim().split(/\s+/).flatMap(findProgram);
  const key = createHash("sha256")
    .update(JSON.stringify([programs, OWN_FILES, 2]))
    .digest("hex")
    .slice(0, 16);
  const tar = path.join(CACHE, `host-${key}.tar`);
  if (existsSync(tar)) return tar;
  const root = mkdtempSync(path.join(os.tmpdir(), "perdure-image-"));
  try {
    const python = pythonFiles(programs.find(({ name }) => name === "python3")?.real);
    const needed = new Set([...programs.map(({ real }) => real), ...python].flatMap(librariesOf));
    for (const file of [...programs.map(({ real }) => real), ...needed, ...python]) copy(root, file);
    for (const { name, real } of programs) linkTo(root, `/bin/${name}`, real);
    for (const folder of FOLDERS) if (existsSync(folder)) cpSync(folder, path.join(root, folder), { recursive: true });
    return await packImage(root, tar);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** A tar of an image that holds nothing but BusyBox, where this host has a static one; undefined otherwise. */
export async function busyboxImageTar(): Promise<string | undefined> {
  const [busybox] = findProgram(process.env["PERDURE_TEST_BUSYBOX"] ?? "busybox");
  if (busybox === undefined || librariesOf(busybox.real).length > 0) return undefined;
  const key = createHash("sha256").update(busybox.real).digest("hex").slice(0, 16);
  const tar = path.join(CACHE, `busybox-${key}.tar`);
  if (existsSync(tar)) return tar;
  const root = mkdtempSync(path.join(os.tmpdir(), "perdure-image-"));
  try {
    mkdirSync(path.join(root, "bin"), { recursive: true });
    cpSync(busybox.real, path.join(root, "bin/busybox"));
    const applets = execFileSync(busybox.real, ["--list"], { encoding: "utf8" }).split("\n").filter(Boolean);
    for (const name of applets) if (name !== "busybox") linkTo(root, `/bin/${name}`, "/bin/busybox");
    return await packImage(root, tar);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Of its standard library what small programs import: its own top files, and what calls the system. */
function pythonFiles(python: string | undefined): readonly string[] {
  if (python === undefined) return [];
  const folder = path.join("/usr/lib", path.basename(python));
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(py|so)$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) =>
      /^(?:[^/]+|(?:encodings|collections|importlib|re|ctypes|json|lib-dynload)\/[^/]+)$/.test(
        path.relative(folder, file),
      ),
    );
}

function findProgram(name: string): readonly { readonly name: string; readonly real: string }[] {
  const folders = name.includes("/")
    ? [path.dirname(name)]
    : ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
  const found = folders.map((folder) => path.join(folder, path.basename(name))).find((file) => existsSync(file));
  return found === undefined ? [] : [{ name: path.basename(name), real: realpathSync(found) }];
}

/** Paths as the loader looks for them; none of a program without libraries, or of a script. */
function librariesOf(program: string): readonly string[] {
  try {
    const printed = execFileSync("ldd", [program], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return [...printed.matchAll(/(?:=> |^\s+)(\/\S+)/gm)].map(([, library = ""]) => library);
  } catch {
    return [];
  }
}

function copy(root: string, file: string): void {
  const target = path.join(root, file);
  if (existsSync(target)) return;
  mkdirSync(path.dirname(target), { recursive: true });
  copyFileSync(file, target);
}

function linkTo(root: string, link: string, target: string): void {
  const place = path.join(root, link);
  if (existsSync(place)) return;
  mkdirSync(path.dirname(place), { recursive: true });
  execFileSync("ln", ["-sf", target, place]);
}

async function packImage(root: string, tar: string): Promise<string> {
  for (const folder of ["tmp", "root", "proc", "sys", "dev", "etc", "usr/bin"]) {
    mkdirSync(path.join(root, folder), { recursive: true });
  }
  for (const [name, content] of Object.entries(OWN_FILES)) writeFileSync(path.join(root, name), content);
  mkdirSync(CACHE, { recursive: true });
  const made = `${tar}.${process.pid}`;
  await promisify(execFile)("tar", ["--owner=0", "--group=0", "--numeric-owner", "-cf", made, "-C", root, "."]);
  renameSync(made, tar);
  return tar;
}
