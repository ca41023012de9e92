/** Words for a line of sh: any text as one argument on one line. */

/** Must not hold a NUL character, which no shell takes. */
export function shellWord(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}

/** As `shellWord`, with `$nl` for each line break, so that the word stays on its line. */
export function shellLineWord(value: string): string {
  return shellWord(value).replaceAll("\n", `'"$nl"'`);
}
