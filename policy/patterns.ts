/** Text patterns: `*` stands for any text, `\*` for a star. Each character of the text is looked at a fixed number of times. */

/** In a text: what only the shell knows, once it runs. No pattern holds one, so that only a `*` spans it. */
export const HOLE = "\0";

/** What a pattern needs of a text; a string is one. */
export interface Characters {
  readonly length: number;
  charCodeAt(index: number): number;
}

interface Piece {
  readonly text: string;
  /** Of each beginning of the piece, the length of its longest proper end that is a beginning too (Knuth, Morris, Pratt). */
  readonly failures: readonly number[];
}

export interface TextPattern {
  readonly source: string;
  /** The texts between the stars: one more than there are stars. */
  readonly pieces: readonly [Piece, ...Piece[]];
}

export function compilePattern(source: string): TextPattern {
  const texts = source.replaceAll(HOLE, "\uFFFD").split(/(?<!\\)\*/);
  const [first = "", ...others] = texts.map((text) => text.replaceAll("\\*", "*"));
  return { source, pieces: [pieceOf(first), ...others.map(pieceOf)] };
}

/** Whether the pattern is one star and nothing else: it stands for whatever there is. */
export function isEverything({ source }: TextPattern): boolean {
  return source === "*";
}

/** Whether the whole text is of the pattern's form. */
export function matches({ pieces }: TextPattern, text: Characters): boolean {
  const [first] = pieces;
  const last = pieces.at(-1) ?? first;
  if (pieces.length === 1) return text.length === first.text.length && isAt(first, text, 0);
  const end = text.length - last.text.length;
  if (end < first.text.length || !isAt(first, text, 0) || !isAt(last, text, end)) return false;
  let from = first.text.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = find(piece, text, { from, to: end });
    if (found === undefined) return false;
    from = found + piece.text.length;
  }
  return true;
}

/**
 * Whether a text with holes could become one of the pattern's form. Only what lies before the first hole and behind the
 * last one is compared, so it says yes too often and never no too often.
 */
export function mightMatch({ pieces }: TextPattern, holed: string): boolean {
  const firstHole = holed.indexOf(HOLE);
  if (firstHole < 0) return false;
  const start = pieces[0].text;
  const end = pieces.at(-1)?.text ?? "";
  const before = holed.slice(0, firstHole);
  const behind = holed.slice(holed.lastIndexOf(HOLE) + 1);
  return (before.startsWith(start) || start.startsWith(before)) && (behind.endsWith(end) || end.endsWith(behind));
}

/** Whether the pattern occurs anywhere in the text, beginning and ending where a word does unless a star is there. */
export function occursIn({ pieces }: TextPattern, text: string): boolean {
  const texts = pieces.map((piece) => piece.text.trim());
  const opensWithWord = texts[0] !== "";
  const closesWithWord = texts.at(-1) !== "" || / $/.test(pieces.at(-2)?.text ?? "");
  const filled = texts.filter((one) => one !== "").map(pieceOf);
  let from = 0;
  for (const [index, piece] of filled.entries()) {
    const isWhole = (start: number): boolean =>
      (index > 0 || !opensWithWord || isWordEdge(text, start, piece.text)) &&
      (index < filled.length - 1 || !closesWithWord || !isWordCharacter(text[start + piece.text.length]));
    const found = find(piece, text, { from, to: text.length, isWanted: isWhole });
    if (found === undefined) return false;
    from = found + piece.text.length;
  }
  return true;
}

function isWordEdge(text: string, start: number, piece: string): boolean {
  return !isWordCharacter(piece[0]) || !isWordCharacter(text[start - 1]);
}

/** Asked at every place of a long line: most characters are told by their code. */
function isWordCharacter(character: string | undefined): boolean {
  if (character === undefined) return false;
  if (character > "\x7f") return /[\p{L}\p{N}]/u.test(character);
  return (
    (character >= "a" && character <= "z") ||
    (character >= "A" && character <= "Z") ||
    (character >= "0" && character <= "9") ||
    (character >= "-" && character <= ".") ||
    character === "_"
  );
}

interface Range {
  readonly from: number;
  readonly to: number;
  readonly isWanted?: ((start: number) => boolean) | undefined;
}

/** Up to this length the engine's own search is faster, and cannot look at a character more often than this. */
const SHORT_PIECE = 16;

/** Where the piece first begins in that range of the text. */
function find({ text: wanted, failures }: Piece, text: Characters, { from, to, isWanted }: Range): number | undefined {
  if (wanted.length === 0) return from;
  if (typeof text === "string" && wanted.length <= SHORT_PIECE) return findShort(wanted, text, { from, to, isWanted });
  let matched = 0;
  for (let at = from; at < to; at += 1) {
    const code = text.charCodeAt(at);
    while (matched > 0 && wanted.charCodeAt(matched) !== code) matched = failures[matched - 1] ?? 0;
    if (wanted.charCodeAt(matched) === code) matched += 1;
    if (matched < wanted.length) continue;
    const start = at - matched + 1;
    if (isWanted === undefined || isWanted(start)) return start;
    matched = failures[matched - 1] ?? 0;
  }
  return undefined;
}

function findShort(wanted: string, text: string, { from, to, isWanted }: Range): number | undefined {
  let start = text.indexOf(wanted, from);
  while (start >= 0 && start + wanted.length <= to) {
    if (isWanted === undefined || isWanted(start)) return start;
    start = text.indexOf(wanted, start + 1);
  }
  return undefined;
}

function isAt({ text: wanted }: Piece, text: Characters, offset: number): boolean {
  for (let at = 0; at < wanted.length; at += 1) {
    if (text.charCodeAt(offset + at) !== wanted.charCodeAt(at)) return false;
  }
  return true;
}

function pieceOf(text: string): Piece {
  const failures = [0];
  let length = 0;
  for (let at = 1; at < text.length; at += 1) {
    while (length > 0 && text[at] !== text[length]) length = failures[length - 1] ?? 0;
    if (text[at] === text[length]) length += 1;
    failures.push(length);
  }
  return { text, failures };
}
