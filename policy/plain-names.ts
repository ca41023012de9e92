/** Names that a plain line may not run: keywords, and the shell's own commands that run, define or expand something. */
import { HOLE } from "./patterns.ts";
import { NotPlain } from "./plain-word.ts";
import { isStatic, type ShellWord } from "./words.ts";
import { hidesCode } from "./wrappers.ts";

/** Of bash, and of the shells that stand in for it: a name that one of them takes for a keyword is no plain command. */
const KEYWORDS = new Set(
  "if then elif else fi case esac for select while until do done in function time coproc foreach end repeat nocorrect".split(
    " ",
  ),
);

/** Own commands of shells that take code, variables or files from their words, or change how the rest is read. */
const OWN_COMMANDS = new Set(
  [
    ". alias autoload bg bind break builtin caller chdir compgen complete compopt continue declare dirs disown emulate",
    "enable eval exec export fc fg float functions getopts hash help history integer jobs let local logout mapfile",
    "nameref noglob popd print pushd read readarray readonly return set setopt shift shopt source suspend trap typeset",
    "ulimit umask unalias unset unsetopt vared wait whence zmodload",
  ].flatMap((row) => row.split(" ")),
);

/** `%1` is a job, `A=1` in quotes a program that nobody has. */
const NAME = /^(?:[\w./][\w./+@:%,-]*|:|\[)$/;

/** Variables that any command may be given: they say how something looks, never what runs. */
const HARMLESS =
  /^(?:CI|NODE_ENV|RAILS_ENV|APP_ENV|FLASK_ENV|NO_COLOR|FORCE_COLOR|CLICOLOR|CLICOLOR_FORCE|COLUMNS|LINES|TZ|PORT|RUST_BACKTRACE|RUST_LOG|PYTHONUNBUFFERED|PYTHONDONTWRITEBYTECODE|GOOS|GOARCH|LOG_LEVEL)$/;

/** Setting one of these needs no pattern that names it. */
export function isHarmlessSetting({ holed }: ShellWord): boolean {
  const equals = holed.indexOf("=");
  return equals > 0 && !holed.includes(HOLE) && HARMLESS.test(holed.slice(0, equals));
}

/** Throws NotPlain when the shell makes something else of these words than to run a program with them. */
export function refuseOwnCommands(words: readonly ShellWord[]): void {
  const [{ shown: name } = { shown: "" }, ...args] = words;
  if (!NAME.test(name)) throw new NotPlain("has a command without a plain name");
  if (KEYWORDS.has(name)) throw new NotPlain(`has the keyword ${name}`);
  if (OWN_COMMANDS.has(name)) throw new NotPlain(`has the shell's own command ${name}, which no pattern covers`);
  const fault = OPERANDS.get(name)?.(args);
  if (fault !== undefined) throw new NotPlain(fault);
}

type OperandCheck = (args: readonly ShellWord[]) => string | undefined;

/** The shell's own commands that are plain with some operands only. */
const OPERANDS: ReadonlyMap<string, OperandCheck> = new Map<string, OperandCheck>([
  ["command", (args) => unless(/^-[vV]$/.test(args[0]?.shown ?? "") && args.every(isStatic), "command runs another")],
  ["test", testFault],
  ["[", testFault],
  ["printf", (args) => unless(isFormat(args[0]) && !args.some(hidesCode), "has a printf that may set a variable")],
  ["exit", (args) => unless(args.length < 2 && /^\d{0,3}$/.test(args[0]?.holed ?? ""), "has an exit that is expanded")],
  ["cd", (args) => unless(args.length < 2 && args.every(isStatic), "has a cd to a folder that is not fixed")],
]);

/** `-v` and `-R` expand the name of a variable, and a name may hold a command in its subscript. */
function testFault(args: readonly ShellWord[]): string | undefined {
  const isPlain = args.every((word) => isStatic(word) && !/^-[vR]$/.test(word.shown) && !hidesCode(word));
  return unless(isPlain, "has a test that may expand what it compares");
}

function isFormat(word: ShellWord | undefined): boolean {
  return word !== undefined && isStatic(word) && !word.shown.startsWith("-");
}

function unless(isFine: boolean, fault: string): string | undefined {
  return isFine ? undefined : fault;
}
