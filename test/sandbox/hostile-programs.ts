/** Pieces that hostile programs share: ways to connect in any image, programs in Python, what a killed command must leave. */
import type { Sandbox } from "../../sandbox/provider.ts";
import { run, text } from "./commands.ts";
import type { Attempt } from "./hostile.ts";

/** Connects, by whatever is there, and prints what it is told. */
export function reach(host: string, port: number): string {
  return `if command -v bash >/dev/null; then bash -c 'exec 3<>/dev/tcp/${host}/${port} && head -c 200 <&3'
elif command -v nc >/dev/null; then nc -w 2 ${host} ${port} </dev/null
else echo "skipped: nothing to connect with"; fi`;
}

/** Says that it was skipped where there is no Python. */
export function withPython(program: string): string {
  return `if command -v python3 >/dev/null; then PATH=/usr/bin:$PATH python3 - <<'PYTHON'
${program.trim()}
PYTHON
else echo "skipped: no python3"; fi`;
}

/** What another command of that sandbox prints. */
export async function callsOf(sandbox: Sandbox, command: string): Promise<string> {
  return text((await run(sandbox, command)).stdout);
}

/** However it ended itself, its supervisor saw it, and the sandbox works as before. */
export async function isKilledKnown({ sandbox, end }: Attempt): Promise<boolean> {
  const isSeen = end?.ended === "signalled" || end?.ended === "exited";
  return !isSeen || (await callsOf(sandbox, "echo works")) !== "works\n";
}

/** Makes the first process that it sees (of the same user, so it may) call kill(0, 9): all of that process's group. */
export const TRACE_INIT: string = withPython(`
import ctypes, os, platform, time
if platform.machine() != "x86_64": raise SystemExit("skipped: not x86_64")
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
SEIZE, INTERRUPT, GETREGS, SETREGS, CONT, POKE = 0x4206, 0x4207, 12, 13, 7, 4
for pid in (1, os.getppid()):
    if libc.ptrace(SEIZE, pid, 0, 0) != 0:
        print("not traced", pid, ctypes.get_errno()); continue
    libc.ptrace(INTERRUPT, pid, 0, 0)
    time.sleep(0.1)
    regs = (ctypes.c_ulonglong * 27)()
    libc.ptrace(GETREGS, pid, 0, ctypes.addressof(regs))
    regs[10], regs[14], regs[13], regs[15] = 62, 0, 9, 0xFFFFFFFFFFFFFFFF
    libc.ptrace(POKE, pid, regs[16], 0x050F)
    libc.ptrace(SETREGS, pid, 0, ctypes.addressof(regs))
    libc.ptrace(CONT, pid, 0, 0)
    print("told", pid, flush=True)
    time.sleep(0.3)
`);
