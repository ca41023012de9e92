/**
 * Text of models, tools and people made safe for a terminal: what could move the cursor, change colours, set a title
 * or reorder what is read becomes a visible sign. Only line breaks and tabs are left.
 */

/** Escape and the other control characters, and the marks that turn the reading direction around. */
const DANGEROUS = /[[\p{Cc}\p{Bidi_Control}\u2028\u2029]--[\n\t]]/gv;
const CONTROL_PICTURES = 0x2400;

/** Keeps line breaks and tabs. A carriage return alone is a line break, as it is for whoever reads a log. */
export function safeText(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(DANGEROUS, visible);
}

/** The same on one line, cut to so many characters. */
export function safeLine(text: string, charactersMax: number): string {
  // Cut before it is looked at: a text of megabytes must not cost anything for its first 80 characters.
  const head = text.slice(0, charactersMax * 2 + 2);
  const line = safeText(head).replaceAll("\t", "  ").replace(/\n+/g, " ").trimEnd();
  return line.length > charactersMax || text.length > head.length ? `${line.slice(0, charactersMax - 1)}…` : line;
}

/** One line of JSON that holds no character a terminal acts on. It is the same value: such characters stand only in strings. */
export function safeJson(json: string): string {
  return json.replace(/[\u007f-\u009f\u2028\u2029]/g, (char) => `\\u${hex(char)}`);
}

function visible(char: string): string {
  const code = char.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(CONTROL_PICTURES + code);
  if (code === 0x7f) return "\u2421";
  return `<${hex(char)}>`;
}

function hex(char: string): string {
  return char.charCodeAt(0).toString(16).padStart(4, "0");
}
