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

/** A redaction that knows some secrets by their value, too. */
export function createRedaction(secrets: readonly string[]): (text: string) => string {
  // The longest first: one may be the beginning of another.
  const known = secrets.toSorted((a, b) => b.length - a.length);
  return (text) => redact(known.reduce((rest, secret) => rest.replaceAll(secret, "[redacted]"), text));
}
