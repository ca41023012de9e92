/** The forms in which a secret is looked for: as it is, and as programs commonly write it. Small and large letters count as one. */
import { domainToASCII } from "node:url";

/** A shorter secret would take half of every text with it, so none is taken; nor is a shorter form of a longer one. */
export const SECRET_BYTES_MIN = 4;
/** Of a secret that is looked for in base64 and hex as well: what is left of a shorter one stands in too many words. */
const ENCODED_BYTES_MIN = 8;
/** Of a secret that is looked for in every form. Longer ones are files of keys; all their forms would take gigabytes. */
const ALL_FORMS_BYTES_MAX = 4_096;
/** A line of a secret with several lines counts as one by itself from so many characters on. */
const LINE_CHARACTERS_MIN = 16;
/** The first and last line of every key file tell nothing. */
const KEY_FRAME = /^-----(?:BEGIN|END) [A-Z0-9 ]+-----$/;
/** What `base64` and most libraries, and what mail and key files put into one line. */
const BASE64_LINES = [76, 64];

/**
 * As it is, without the line break at its end, each of its longer lines, with CRLF, escaped in JSON, encoded in a URL or a
 * form, in hex, and in base64 and base64url wherever in the encoded text it stands. Of those up to 4 KiB also: composed and
 * decomposed Unicode, as the name of a host, all other ways to encode a URL, twice encoded, in HTML, quoted for a shell, and
 * base64 in lines. Their letters may be small or large: whoever searches folds them.
 */
export function formsOf(secret: string): readonly Uint8Array[] {
  const trimmed = secret.trimEnd();
  const isShort = Buffer.byteLength(secret) <= ALL_FORMS_BYTES_MAX;
  const whole = isShort ? [...new Set([secret, trimmed])] : [trimmed];
  const texts = [...whole, ...linesOf(trimmed)];
  const forms = new Set(texts.flatMap((text) => [text, ...escaped(text)]));
  const add = (more: readonly string[]): void => {
    for (const form of more) forms.add(form);
  };
  if (isShort) {
    for (const text of texts) {
      add(rarelyEscaped(text));
      for (const other of normalized(text)) add([other, ...escaped(other)]);
    }
  }
  if (Buffer.byteLength(trimmed) >= ENCODED_BYTES_MIN) {
    for (const text of whole) add(encoded(Buffer.from(text)));
    if (isShort) for (const text of whole) add(inLines(Buffer.from(text)));
  }
  return [...forms]
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

/** As file systems, hosts and people write one text. ASCII letters need no form: whoever searches folds them. */
function normalized(text: string): readonly string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what ASCII is.
  if (/^[\x00-\x7f]*$/.test(text)) return [];
  const forms = (["NFC", "NFD", "NFKC"] as const).map((form) => text.normalize(form));
  const cases = [text, ...forms].flatMap((form) => [form, form.toLowerCase(), form.toUpperCase()]);
  return [...new Set([...cases, domainToASCII(text.normalize("NFC"))])].filter((form) => form !== "");
}

/** A text of which every encoder makes the same. */
const PLAIN = /^[\w.-]*$/;

function escaped(text: string): readonly string[] {
  if (PLAIN.test(text)) return [];
  const url = encodeURIComponent(text.toWellFormed());
  const strict = url.replace(/[!'()*]/g, percent);
  const json = JSON.stringify(text).slice(1, -1);
  return [
    json,
    json.replaceAll("/", "\\/"),
    url,
    strict,
    strict.replaceAll("%20", "+"),
    encodeURI(text.toWellFormed()),
  ];
}

function rarelyEscaped(text: string): readonly string[] {
  const well = text.toWellFormed();
  const url = encodeURIComponent(well);
  const form = new URLSearchParams([["", well]]).toString().slice(1);
  const urls = new Set([
    form,
    url,
    encodeURI(well),
    ...URL_KEEPS.map((keeps) => percentEncoded(url, keeps)),
    everyByte(well),
  ]);
  const json = JSON.stringify(text).slice(1, -1);
  const ascii = json.replace(/[^ -~]/g, unicode);
  const jsons = new Set([
    ...[json, ascii, ascii.replaceAll("/", "\\/")],
    ...[ascii.replace(/[<>&'+]/g, unicode), json.replace(/[<>&]/g, unicode)],
  ]);
  return [
    ...urls,
    ...[...urls].map((once) => once.replaceAll("%", "%25")),
    ...jsons,
    ...[...jsons].map((once) => JSON.stringify(once).slice(1, -1)),
    ...inHtml(text),
    ...shellQuoted(text),
  ];
}

/** What the many encoders of URLs leave as it is, beside letters, digits, "-", "." and "_" and what is shown below. */
const URL_KEEPS = [
  "",
  "/",
  "~",
  "/~",
  "*",
  "!*'()",
  "!$&'()*+,;=:@",
  "!$&'()*+,;=:@/",
  "!$&'()*+,;=:@/?",
  "!$'()*+,;=:@/?[]|^`{}",
];

function percentEncoded(url: string, keeps: string): string {
  return url.replace(/%[0-9A-F]{2}|[!~*'()]/g, (one) => {
    const is = one.length === 1 ? one : String.fromCharCode(Number.parseInt(one.slice(1), 16));
    return keeps.includes(is) ? is : percent(is);
  });
}

const HTML_QUOTES = [
  { double: "&quot;", single: "'" },
  { double: '"', single: "'" },
  { double: "&quot;", single: "&#39;" },
  { double: "&quot;", single: "&#x27;" },
  { double: "&quot;", single: "&apos;" },
  { double: "&#34;", single: "&#39;" },
];

function inHtml(text: string): readonly string[] {
  if (!/["'<>&]|[^ -~]/.test(text)) return [];
  const tags = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return HTML_QUOTES.flatMap(({ double, single }) => {
    const quoted = tags.replaceAll('"', double).replaceAll("'", single);
    return [quoted, quoted.replace(/[^ -~\s]/gu, (one) => `&#${one.codePointAt(0)};`)];
  });
}

/** As bash, `printf %q`, `set -x` and those who quote for it write it. */
function shellQuoted(text: string): readonly string[] {
  const dollar = text.replace(/[\\']/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll("\r", "\\r");
  return [
    text.replaceAll("'", "'\\''"),
    text.replaceAll("'", `'"'"'`),
    text.replace(/[\\"$`]/g, "\\$&"),
    text.replace(/[^\w@%+=:,./-]/gu, (one) => (one > "~" ? one : `\\${one}`)),
    dollar,
  ];
}

function everyByte(text: string): string {
  return Buffer.from(text).toString("hex").replace(/../g, "%$&");
}

function percent(one: string): string {
  return `%${one.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

function unicode(one: string): string {
  return `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function encoded(bytes: Buffer): readonly string[] {
  const base64 = [0, 1, 2].map((before) => base64Core(bytes, before));
  const urls = base64.map((core) => core.replaceAll("+", "-").replaceAll("/", "_"));
  return [bytes.toString("hex"), ...base64, ...urls];
}

/** The characters that the bytes alone decide, when so many bytes (modulo 3) stand before them. */
function base64Core(bytes: Buffer, before: number): string {
  const whole = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  const first = Math.ceil((before * 8) / 6);
  const last = Math.floor(((before + bytes.length) * 8) / 6);
  return whole.slice(first, last);
}

/** Of a secret that is encoded by itself: broken into lines, and each line, since a tool may number or indent them. */
function inLines(bytes: Buffer): readonly string[] {
  const core = base64Core(bytes, 0);
  return BASE64_LINES.flatMap((width) => {
    if (core.length <= width) return [];
    const lines = core.match(new RegExp(`.{1,${width}}`, "g")) ?? [];
    return [lines.join("\n"), lines.join("\r\n"), ...lines.filter((line) => line.length >= LINE_CHARACTERS_MIN)];
  });
}
