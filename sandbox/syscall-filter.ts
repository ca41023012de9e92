/**
 * The seccomp filter of bubblewrap sandboxes, as bytes for `bwrap --seccomp`: what programs need stays, and doors of the kernel
 * that no program of an agent needs are shut. Docker has a filter of its own.
 *
 * Made here and not by a library: it is one table, and a test runs it for both processors. Calls that other kernels lack as
 * well say ENOSYS, so that programs take their other way (io_uring, clone3); all others say EPERM.
 */

export type FilteredArchitecture = "x64" | "arm64";

interface Numbers {
  /** As the kernel names the processor and its calling convention. */
  readonly audit: number;
  readonly forbidden: readonly number[];
  readonly missing: readonly number[];
  readonly byArgument: Readonly<Record<"socket" | "clone" | "unshare" | "ioctl" | "personality" | "fallocate", number>>;
}

/** The same on both processors. */
const NEW_MOUNT_CALLS = [428, 429, 430, 431, 432, 433, 442, 467]; // open_tree … fspick, mount_setattr, open_tree_attr
const MISSING = [425, 426, 427, 435]; // io_uring_setup, _enter, _register, clone3: its flags cannot be looked at

const NUMBERS: Readonly<Record<FilteredArchitecture, Numbers>> = {
  x64: {
    audit: 0xc000003e,
    forbidden: [
      ...[248, 249, 250], // add_key, request_key, keyctl: so a keyring of the host's is of no use, whose ever it is
      ...[323, 321, 298], // userfaultfd, bpf, perf_event_open
      ...[246, 320, 174, 175, 313, 176, 177, 178], // kexec_*, modules
      ...[304, 165, 166, 155, 308, ...NEW_MOUNT_CALLS], // open_by_handle_at, mount, umount2, pivot_root, setns
      ...[179, 443, 103, 163, 167, 168, 169], // quotactl, quotactl_fd, syslog, acct, swapon, swapoff, reboot
      ...[172, 173, 212, 153, 180, 134, 136, 139, 156], // iopl, ioperm, and what only old programs knew
      ...[300, 279, 256, 164, 227], // fanotify_init, move_pages, migrate_pages, settimeofday, clock_settime
    ],
    missing: MISSING,
    byArgument: { socket: 41, clone: 56, unshare: 272, ioctl: 16, personality: 135, fallocate: 285 },
  },
  arm64: {
    audit: 0xc00000b7,
    forbidden: [
      ...[217, 218, 219, 282, 280, 241, 104, 294, 105, 273, 106],
      ...[265, 40, 39, 41, 268, ...NEW_MOUNT_CALLS],
      ...[60, 443, 116, 89, 224, 225, 142, 18, 58, 42],
      ...[262, 239, 238, 170, 112],
    ],
    missing: MISSING,
    byArgument: { socket: 198, clone: 220, unshare: 97, ioctl: 29, personality: 92, fallocate: 47 },
  },
};

const ERRNO = { EPERM: 1, ENOSYS: 38, EOPNOTSUPP: 95, EAFNOSUPPORT: 97 } as const;
const SOCKET_FAMILIES = [1, 2, 10, 16]; // unix, IPv4, IPv6, netlink: not vsock, by which a virtual machine reaches its host
const NAMESPACES = 0x7e020000;
const NEW_TIME = 0x80; // Part of the signal's number for clone.
const TERMINAL_INPUT = [0x5412, 0x541c]; // TIOCSTI, TIOCLINUX: they type for whoever sits at the terminal
const PERSONALITIES = [0, 8, 0x20000, 0x20008, 0xffffffff];
/** Space that is only reserved is taken faster than anybody can look; giving it back (punch hole, collapse) stays. */
const GIVING_BACK = 0x2 | 0x8;
const X32 = 0x40000000;

const OFFSET = { number: 0, architecture: 4, argument: (index: number): number => 16 + 8 * index } as const;
const CODE = { load: 0x20, jumpEqual: 0x15, jumpAtLeast: 0x35, jumpAnyBit: 0x45, answer: 0x06 } as const;
const ALLOW = 0x7fff0000;
const FAIL = 0x00050000;
const INSTRUCTION_BYTES = 8;

/** undefined: there is no filter for such a processor. */
export function syscallFilter(architecture: string = process.arch): Buffer | undefined {
  return architecture === "x64" || architecture === "arm64" ? assembled(program(architecture)) : undefined;
}

interface Instruction {
  readonly code: number;
  readonly value: number;
  /** Where to go when the comparison holds; otherwise the next one follows. */
  readonly to?: string;
  /** A name for this one. */
  readonly name?: string;
}

function program(architecture: FilteredArchitecture): readonly Instruction[] {
  const { audit, forbidden, missing, byArgument } = NUMBERS[architecture];
  const load = (value: number, name?: string): Instruction => ({ code: CODE.load, value, ...(name && { name }) });
  const answer = (value: number, name?: string): Instruction => ({ code: CODE.answer, value, ...(name && { name }) });
  const equal = (value: number, to: string): Instruction => ({ code: CODE.jumpEqual, value, to });
  const anyBit = (value: number, to: string): Instruction => ({ code: CODE.jumpAnyBit, value, to });
  return [
    load(OFFSET.architecture),
    equal(audit, "ours"),
    answer(FAIL | ERRNO.ENOSYS), // Of another calling convention, such as int 0x80: its numbers mean something else.
    load(OFFSET.number, "ours"),
    ...(architecture === "x64" ? [{ code: CODE.jumpAtLeast, value: X32, to: "ENOSYS" }] : []),
    ...forbidden.map((number) => equal(number, "EPERM")),
    ...missing.map((number) => equal(number, "ENOSYS")),
    ...Object.entries(byArgument).map(([name, number]) => equal(number, name)),
    answer(ALLOW, "ALLOW"),
    answer(FAIL | ERRNO.EPERM, "EPERM"),
    answer(FAIL | ERRNO.ENOSYS, "ENOSYS"),
    load(OFFSET.argument(0), "socket"),
    ...SOCKET_FAMILIES.map((family) => equal(family, "allow")),
    answer(FAIL | ERRNO.EAFNOSUPPORT),
    load(OFFSET.argument(0), "clone"),
    anyBit(NAMESPACES, "eperm"),
    answer(ALLOW),
    load(OFFSET.argument(0), "unshare"),
    anyBit(NAMESPACES | NEW_TIME, "eperm"),
    answer(ALLOW),
    load(OFFSET.argument(1), "ioctl"),
    ...TERMINAL_INPUT.map((command) => equal(command, "eperm")),
    answer(ALLOW),
    load(OFFSET.argument(0), "personality"),
    ...PERSONALITIES.map((persona) => equal(persona, "allow")),
    answer(FAIL | ERRNO.EPERM),
    load(OFFSET.argument(1), "fallocate"),
    anyBit(GIVING_BACK, "allow"),
    answer(FAIL | ERRNO.EOPNOTSUPP),
    answer(ALLOW, "allow"),
    answer(FAIL | ERRNO.EPERM, "eperm"),
  ];
}

/** Jumps only go forward, by at most 255 instructions. */
function assembled(instructions: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(instructions.length * INSTRUCTION_BYTES);
  for (const [index, { code, value, to }] of instructions.entries()) {
    const target = to === undefined ? index + 1 : instructions.findIndex(({ name }) => name === to);
    const distance = target - index - 1;
    if (distance < 0 || distance > 255) throw new Error(`the system call filter cannot jump to ${to}`);
    const at = index * INSTRUCTION_BYTES;
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt8(distance, at + 2);
    bytes.writeUInt8(0, at + 3);
    bytes.writeUInt32LE(value >>> 0, at + 4);
  }
  return bytes;
}
