/** Words of a shell line as the command gets them: without quotes, with holes where only the running shell knows the text. */
import type { Assignment, CommandArgument, HereDoc, Word, WordPart } from "unbash";
import { HOLE } from "./patterns.ts";

export interface ShellWord {
  /** Unquoted; what only the shell knows is kept as it was written. */
  readonly shown: string;
  /** The same with a hole for each of those. */
  readonly holed: string;
}

export function isStatic({ holed }: ShellWord): boolean {
  return !holed.includes(HOLE);
}

export function staticWord(text: string): ShellWord {
  return { shown: text, holed: text };
}

/** A word that nobody can know before the command runs. */
export function unknownWord(shown: string): ShellWord {
  return { shown, holed: HOLE };
}

export function joined(words: readonly ShellWord[]): ShellWord {
  return { shown: words.map(({ shown }) => shown).join(" "), holed: words.map(({ holed }) => holed).join(" ") };
}

export function readWord(word: Word): ShellWord {
  return word.parts === undefined ? staticWord(word.value) : concatenated(word.parts.map(readPart));
}

export function readArgument(argument: CommandArgument): ShellWord {
  return argument.type === "Word" ? readWord(argument) : readAssignment(argument);
}

export function readAssignment({ name, index, append, value, text }: Assignment): ShellWord {
  const head = staticWord(append === true ? `${name}+=` : `${name}=`);
  if (value.type === "ArrayValue") return { shown: text, holed: head.holed + HOLE };
  const subscript = index === undefined ? [] : [unknownWord(`[${index.text}]`)];
  return concatenated([staticWord(name), ...subscript, staticWord(head.shown.slice(name.length)), readWord(value)]);
}

export function readHereDoc({ body, delimiter }: HereDoc): ShellWord {
  if (delimiter?.quoted === true || body.parts === undefined) return staticWord(body.text);
  return concatenated(body.parts.map(readPart));
}

function readPart(part: WordPart): ShellWord {
  switch (part.type) {
    case "Literal":
    case "SingleQuoted":
    case "AnsiCQuoted":
      return staticWord(part.value);
    case "DoubleQuoted":
    case "LocaleString":
      return concatenated(part.parts.map(readPart));
    case "Glob":
    case "ExtendedGlob":
    case "BraceExpansion":
    case "SimpleExpansion":
    case "ParameterExpansion":
    case "CommandExpansion":
    case "ArithmeticExpansion":
    case "ProcessSubstitution":
      return unknownWord(part.text);
    default: {
      const unreachable: never = part;
      throw new Error(`unknown part of a word: ${JSON.stringify(unreachable)}`);
    }
  }
}

function concatenated(words: readonly ShellWord[]): ShellWord {
  return { shown: words.map(({ shown }) => shown).join(""), holed: words.map(({ holed }) => holed).join("") };
}
