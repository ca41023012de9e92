/** The forms in which a secret is looked for: as it is, and as programs commonly write it. */

/** A shorter secret would take half of every text with it, so none is taken; nor is a shorter form of a longer one. */
export const SECRET_BYTES_MIN = 4;
/** Of a secret that is looked for in base64 and hex as well: what is left of a shorter one stands in too many words. */
const ENCODED_BYTES_MIN = 8;
/** A line of a secret with several lines counts as one by itself from so many characters on. */
const LINE_CHARACTERS_MIN = 16;
/** The first and last line of every key file tell nothing. */
const KEY_FRAME = /^-----(?:BEGIN|END) [A-Z0-9 ]+-----$/;

/**
 * As it is, without the line break at its end, each of its longer lines, with CRLF, escaped in JSON, encoded in a URL or a
 * form, in hex, and in base64 and base64url wherever in the encoded text it stands. Not: base64 broken into lines, compressed,
 * quoted for a shell, or reversed.
 */
export function formsOf(secret: string): readonly Uint8Array[] {
  const trimmed = secret.trimEnd();
  const forms = [secret, trimmed, ...linesOf(trimmed)].flatMap((text) => [text, ...escaped(text)]);
  if (Buffer.byteLength(trimmed) >= ENCODED_BYTES_MIN) {
    for (const text of new Set([secret, trimmed])) forms.push(...encoded(Buffer.from(text)));
  }
  return [...new Set(forms)]
    .map((form) => Buffer.from(form))
    .filter((form) => form.length >= SECRET_BYTES_MIN)
    .map((form) => new Uint8Array(form));
}

function linesOf(secret: string): readonly string[] {
  const lines = secret.split(/\r?\n/).map((line) => line.trim());
  if (lines.length < 2) return [];
  return [
    lines.join("\r\n"),
    lines.join("\n"),
    ...lines.filter((line) => line.length >= LINE_CHARACTERS_MIN && !KEY_FRAME.test(line)),
  ];
}

function escaped(text: string): readonly string[] {
  const url = encodeURIComponent(text.toWellFormed());
  const strict = url.replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
  const lower = (one: string): string => one.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
  const urls = [url, strict, strict.replaceAll("%20", "+"), encodeURI(text.toWellFormed())];
  const json = JSON.stringify(text).slice(1, -1);
  return [json, json.replaceAll("/", "\\/"), ...urls, ...urls.map(lower)];
}

function encoded(bytes: Buffer): readonly string[] {
  const hex = bytes.toString("hex");
  const base64 = [0, 1, 2].map((before) => base64Core(bytes, before));
  return [hex, hex.toUpperCase(), ...base64, ...base64.map((core) => core.replaceAll("+", "-").replaceAll("/", "_"))];
}

/** The characters that the bytes alone decide, when so many bytes (modulo 3) stand before them. */
function base64Core(bytes: Buffer, before: number): string {
  const whole = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  const first = Math.ceil((before * 8) / 6);
  const last = Math.floor(((before + bytes.length) * 8) / 6);
  return whole.slice(first, last);
}
