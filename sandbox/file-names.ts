/**
 * Names of files as text, without loss: a name on Linux is any bytes. Bytes that are no UTF-8 are written `\xNN`, and where a
 * name holds such a text itself its backslash is written `\x5c`. So each name has one text, which JSON, rows and URLs can hold.
 */
import { isUtf8 } from "node:buffer";

const ESCAPED = /\\x(5c|[89a-f][0-9a-f])/g;
const LOOKS_ESCAPED = /\\x(?:5c|[89a-f][0-9a-f])/;
const LONGEST_CHARACTER = 4;
const HALF = 0xdc00;

/** The text for a name, or for a whole path. */
export function textOfName(bytes: Buffer): string {
  if (isUtf8(bytes)) return plain(bytes);
  let text = "";
  let from = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = characterAt(bytes, at);
    if (length === 0) {
      text += `${plain(bytes.subarray(from, at))}\\x${(bytes[at] ?? 0).toString(16)}`;
      from = at + 1;
    }
    at += Math.max(1, length);
  }
  return text + plain(bytes.subarray(from));
}

/**
 * The name that a text stands for: the text itself, but for bytes that are no UTF-8. A text that `textOfName` would not have
 * given stands for itself, so that no name can be said in two ways.
 */
export function nameOfText(text: string): string | Buffer {
  if (!LOOKS_ESCAPED.test(text)) return text;
  const pieces: Buffer[] = [];
  let from = 0;
  for (const found of text.matchAll(ESCAPED)) {
    pieces.push(Buffer.from(text.slice(from, found.index)), Buffer.from([Number.parseInt(found[1] ?? "", 16)]));
    from = found.index + found[0].length;
  }
  const bytes = Buffer.concat([...pieces, Buffer.from(text.slice(from))]);
  if (textOfName(bytes) !== text) return text;
  return isUtf8(bytes) ? bytes.toString() : bytes;
}

/** The bytes of that name. */
export function bytesOfText(text: string): Buffer {
  const name = nameOfText(text);
  return typeof name === "string" ? Buffer.from(name) : name;
}

/**
 * The name as characters of a line for a shell, in which a byte that is no UTF-8 is half of a pair that no text has; see
 * `bytesOfLine`.
 */
export function lineOfText(text: string): string {
  const name = nameOfText(text);
  if (typeof name === "string") return name;
  let line = "";
  for (let at = 0; at < name.length; ) {
    const length = characterAt(name, at);
    line += length === 0 ? String.fromCharCode(HALF + (name[at] ?? 0)) : name.toString("utf8", at, at + length);
    at += Math.max(1, length);
  }
  return line;
}

/** The bytes of a line with such halves. */
export function bytesOfLine(line: string): Buffer {
  if (line.isWellFormed()) return Buffer.from(line);
  return Buffer.concat(
    [...line].map((character) => {
      const half = character.length === 1 ? character.charCodeAt(0) - HALF : -1;
      return half >= 0x80 && half <= 0xff ? Buffer.from([half]) : Buffer.from(character);
    }),
  );
}

/** A path of both, for the system. */
export function inFolder(folder: string, name: string): string | Buffer {
  const last = nameOfText(name);
  return typeof last === "string" ? `${folder}/${last}` : Buffer.concat([Buffer.from(`${folder}/`), last]);
}

function plain(bytes: Buffer): string {
  return bytes.toString().replace(ESCAPED, "\\x5cx$1");
}

/** The length of the character that begins there; 0: none does. */
function characterAt(bytes: Buffer, at: number): number {
  for (let length = 1; length <= LONGEST_CHARACTER && at + length <= bytes.length; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  }
  return 0;
}
