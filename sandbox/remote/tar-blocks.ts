/** Entries of a tar in the oldest form with long names, which each tar reads: GNU's, BusyBox's and others'. */
import { bytesOfText } from "../file-names.ts";

export interface LaidEntry {
  readonly kind: "file" | "folder" | "symlink";
  /** Relative, without a slash at its end. */
  readonly name: string;
  readonly bytes: number;
  readonly mode: number;
  /** Seconds since 1970. */
  readonly modifiedAt: number;
  readonly target?: string;
}

const BLOCK = 512;
const TYPES = { file: "0", folder: "5", symlink: "2" } as const;
/** Above this a size does not fit into its field as octal digits. */
const OCTAL_SIZE_MAX = 8 ** 11 - 1;

/** The end of a tar. */
export const TAR_END: Uint8Array = new Uint8Array(2 * BLOCK);

/** What stands before an entry's content; names that are too long for it come before it, as GNU tar writes them. */
export function tarHeader(entry: LaidEntry): Uint8Array {
  const name = Buffer.concat([bytesOfText(entry.name), Buffer.from(entry.kind === "folder" ? "/" : "")]);
  const target = bytesOfText(entry.target ?? "");
  return Buffer.concat([
    ...(target.length > 100 ? longName("K", target) : []),
    ...(name.length > 100 ? longName("L", name) : []),
    header({ ...entry, name, target, type: TYPES[entry.kind] }),
  ]);
}

/** Zeros up to the next block. */
export function tarPadding(bytes: number): Uint8Array {
  return new Uint8Array((BLOCK - (bytes % BLOCK)) % BLOCK);
}

function longName(type: "K" | "L", value: Buffer): readonly Uint8Array[] {
  const ended = Buffer.concat([value, Buffer.alloc(1)]);
  const plain = { mode: 0, modifiedAt: 0, target: Buffer.alloc(0) };
  return [
    header({ ...plain, name: Buffer.from("././@LongLink"), bytes: ended.length, type }),
    ended,
    tarPadding(ended.length),
  ];
}

interface HeaderFields {
  readonly name: Buffer;
  readonly target: Buffer;
  readonly bytes: number;
  readonly mode: number;
  readonly modifiedAt: number;
  readonly type: string;
}

function header({ name, target, bytes, mode, modifiedAt, type }: HeaderFields): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number): void => {
    block.write(
      `${Math.max(0, Math.trunc(value))
        .toString(8)
        .padStart(length - 1, "0")}\0`,
      at,
      "latin1",
    );
  };
  name.copy(block, 0, 0, 100);
  octal(mode & 0o7777, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  if (bytes <= OCTAL_SIZE_MAX) octal(bytes, 124, 12);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(bytes), 128);
  }
  octal(Math.min(modifiedAt, OCTAL_SIZE_MAX), 136, 12);
  block.fill(" ", 148, 156);
  block.write(type, 156, "latin1");
  target.copy(block, 157, 0, 100);
  block.write("ustar  \0", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
