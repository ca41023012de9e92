/** Takes what looks like a secret out of a text that is kept or shown where none may be. */

/**
 * Keys of well-known makers, passwords in links, and what stands behind a word such as token or password. No expression
 * here looks at a character more often than a fixed number of times: the text may be hostile.
 */
export function redact(text: string): string {
  return text
    .replace(/\bperdure_[A-Za-z0-9_-]{43}/g, "[redacted]") // The API's own token; our folders begin with that word, too.
    .replace(/\b(?:sk|pk|rk|gh[opsu]|github_pat|glpat|xox[abeprs]|AKIA|ASIA|eyJ)[-_.A-Za-z0-9]{8,}/g, "[redacted]")
    .replace(/\b(bearer|basic)\s+[^\s"']+/gi, "$1 [redacted]")
    .replace(/:\/\/[^\s/@:]*:[^\s/@]*@/g, "://[redacted]@")
    .replace(
      /((?:token|secret|passw(?:or)?d|passphrase|credential|authorization|(?:api|access|private)[_-]?key)[\w-]{0,64}["']?(?:\s*[=:]\s*|\s+))(?:"[^"]*"|'[^']*'|\S+)/gi,
      "$1[redacted]",
    );
}

/** A redaction that knows some secrets by their value, too: in small and large letters, in JSON and in URLs. */
export function createRedaction(secrets: readonly string[]): (text: string) => string {
  const forms = secrets.flatMap((secret) => [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret.toWellFormed()),
  ]);
  const given = [...new Set(forms)].filter((form) => form !== "");
  if (given.length === 0) return redact;
  // The longest first: one may be the beginning of another.
  const longestFirst = given.toSorted((a, b) => b.length - a.length);
  const known = new RegExp(longestFirst.map((form) => form.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("|"), "gi");
  return (text) => redact(text.replace(known, "[redacted]"));
}
