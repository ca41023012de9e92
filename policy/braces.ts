/** The braces of a glob: `src/{a,b}.ts` is two globs. */

/** What is wrong with a glob, in words that say what to write instead. */
export interface GlobFault {
  readonly fault: string;
}

/** What the braces of one glob may multiply to. */
const ALTERNATIVES_MAX = 64;

const UNBALANCED: GlobFault = { fault: "has a { or } without the other: write \\{ or \\} for the character" };

export function expandBraces(glob: string): readonly string[] | GlobFault {
  const done: string[] = [];
  const open = [glob];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const braces = innermost(next);
    if (braces === undefined) done.push(next);
    else if ("fault" in braces) return braces;
    else open.push(...braces.alternatives);
    if (done.length + open.length > ALTERNATIVES_MAX) {
      return { fault: `stands for more than ${ALTERNATIVES_MAX} globs by its braces: write several rules` };
    }
  }
  return done;
}

/** The glob once for each choice of its first pair of braces that holds no other pair; undefined when it has none. */
function innermost(glob: string): { readonly alternatives: readonly string[] } | GlobFault | undefined {
  let opened: number | undefined;
  let commas: number[] = [];
  for (let at = 0; at < glob.length; at += 1) {
    const character = glob[at];
    if (character === "\\") at += 1;
    else if (character === "{") [opened, commas] = [at, []];
    else if (character === "," && opened !== undefined) commas.push(at);
    else if (character === "}") {
      if (opened === undefined) return UNBALANCED;
      if (commas.length === 0) return { fault: "has braces without a comma: write {a,b}, or \\{ for the character" };
      return { alternatives: choices(glob, [opened, ...commas, at]) };
    }
  }
  return opened === undefined ? undefined : UNBALANCED;
}

function choices(glob: string, marks: readonly number[]): readonly string[] {
  const before = glob.slice(0, marks[0]);
  const behind = glob.slice((marks.at(-1) ?? 0) + 1);
  return marks.slice(1).map((mark, index) => before + glob.slice((marks[index] ?? 0) + 1, mark) + behind);
}
