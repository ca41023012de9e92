/** Commands that run another command: which one, from their words. Their options are read as their manuals say. */
import { isStatic, joined, type ShellWord, staticWord, unknownWord } from "./words.ts";

/** What a command runs in turn: a command in words, a text for a shell, or something that cannot be known. */
export type Inner =
  | { readonly type: "words"; readonly words: readonly ShellWord[] }
  | { readonly type: "text"; readonly text: ShellWord }
  | { readonly type: "unread"; readonly why: string };

interface Wrapper {
  /** Letters of the options that take a value. */
  readonly values?: string;
  /** Long options whose value is the next word. */
  readonly longs?: readonly string[];
  /** Words between the options and the command: timeout's duration. */
  readonly operands?: number;
  /** The rest is joined and given to a shell. */
  readonly isText?: boolean;
  /** What it reads becomes arguments of the command. */
  readonly appends?: boolean;
  /** An option that makes it print about the command instead of running it. */
  readonly prints?: RegExp;
  /** An option whose value is a text for a shell; it is one only before the command. */
  readonly text?: RegExp;
  /** The options that change nothing of which command runs. With any other, what runs cannot be told. */
  readonly plain?: RegExp;
}

const SUDO_LONGS = [
  "close-from",
  "chdir",
  "group",
  "host",
  "prompt",
  "chroot",
  "role",
  "type",
  "command-timeout",
  "other-user",
  "user",
];

const WRAPPERS: ReadonlyMap<string, Wrapper> = new Map<string, Wrapper>([
  ["sudo", { values: "CDghpRrtTUu", longs: SUDO_LONGS, plain: /^-(?:[nHk]+|[ug][\w-]*)$/ }],
  ["doas", { values: "uC" }],
  ["pkexec", { longs: ["user"] }],
  [
    "env",
    {
      values: "uCS",
      longs: ["unset", "chdir", "split-string"],
      text: /^(?:-[0iv]*S|--s[a-z-]*=?)/,
      plain: /^-(?:i|u\w*)?$|^--(?:ignore-environment|unset(?:=\w+)?)$/,
    },
  ],
  ["nice", { values: "n", longs: ["adjustment"], plain: /^-(?:\d+|n-?\d*)$|^--adjustment(?:=-?\d+)?$/ }],
  ["ionice", { values: "cnpPu", longs: ["class", "classdata"], plain: /^-[cn]\d*$/ }],
  ["nohup", {}],
  ["setsid", { plain: /^-[fw]+$|^--(?:fork|wait)$/ }],
  [
    "stdbuf",
    { values: "ioe", longs: ["input", "output", "error"], plain: /^-[ioe][0L]?$|^--(?:input|output|error)(?:=\w+)?$/ },
  ],
  [
    "timeout",
    {
      values: "ks",
      longs: ["kill-after", "signal"],
      operands: 1,
      plain: /^-(?:v|k[\d.]*[smhd]?|s\w*)$|^--(?:foreground|preserve-status|verbose|(?:kill-after|signal)(?:=\w+)?)$/,
    },
  ],
  ["time", { values: "fo", longs: ["format", "output"], plain: /^-[pv]$/ }],
  ["command", { prints: /^-[p]*[vV]/ }],
  ["builtin", {}],
  ["exec", { values: "a" }],
  [
    "xargs",
    {
      values: "adEILnPs",
      longs: ["arg-file", "delimiter", "max-args", "max-procs", "max-chars"],
      appends: true,
      plain: /^-[0rtx]*(?:[nPL]\d*|[Id].*)?$|^--(?:null|no-run-if-empty|verbose|exit|max-(?:args|procs)(?:=\d+)?)$/,
    },
  ],
  ["watch", { values: "nq", longs: ["interval", "equexit"], isText: true, plain: /^-n[\d.]*$/ }],
  ["ssh", { values: "BbcDEeFIiJLlmOopQRSWw", operands: 1, isText: true }],
  ["strace", { values: "abeEIoOpPsSuUX" }],
  ["ltrace", { values: "abDeFlnoOpsuwxX" }],
  ["chroot", { operands: 1 }],
  ["taskset", { operands: 1 }],
  ["chrt", { values: "TPD", operands: 1 }],
  ["unshare", { values: "RwSG" }],
  ["nsenter", { values: "tSG" }],
  [
    "flock",
    { values: "wE", longs: ["wait", "timeout", "conflict-exit-code"], operands: 1, text: /^(?:-c|--command=?)/ },
  ],
  ["su", { operands: Number.POSITIVE_INFINITY, text: /^(?:-[a-z]*c|--command=?|--session-command=?)/ }],
  ["runuser", { values: "cgGsuw", text: /^(?:-[a-z]*c|--command=?|--session-command=?)/ }],
  ["script", { operands: Number.POSITIVE_INFINITY, text: /^(?:-[aefq]*c|--command=?)/ }],
  ["fakeroot", { values: "lsib" }],
  ["xvfb-run", { values: "enfpsw" }],
  ["unbuffer", {}],
  ["chronic", {}],
  ["entr", {}],
  ["busybox", {}],
  ["toybox", {}],
  ["setarch", { operands: 1 }],
  ["coproc", {}], // A keyword of bash; elsewhere a command's name.
  ...[
    "linux32 linux64 i386 x86_64 uname26 prlimit setpriv choom uclampset numactl valgrind dbus-run-session dbus-launch",
    "systemd-run systemd-inhibit cgexec firejail proxychains proxychains4 torsocks tsocks rlwrap catchsegv tini dumb-init",
  ]
    .flatMap((row) => row.split(" "))
    .map((name): [string, Wrapper] => [name, {}]),
  ...["gosu", "su-exec", "faketime"].map((name): [string, Wrapper] => [name, { operands: 1 }]),
]);

const SHELLS = new Set(["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash", "fish", "csh", "tcsh"]);
const EXECUTES = /^-(?:exec|execdir|ok|okdir)$/;
/** Options that hand the shell's own commands a text or a program to run. */
const RUNS_BY_OPTION: ReadonlyMap<string, RegExp> = new Map([
  ["printf", /^-v/],
  ["mapfile", /^-\w*[Cc]/],
  ["readarray", /^-\w*[Cc]/],
  ["hash", /^-\w*p/],
  ["enable", /^-\w*f/],
  ["jobs", /^-\w*x/],
]);
/** What runs texts from places that are not its words alone. */
const RUNS_TEXTS = new Set(
  "parallel bind complete compgen perf gdb capsh start-stop-daemon expect crontab at batch sg newgrp".split(" "),
);
/** More commands behind `-exec` than these are not looked at: each is looked at with all that follows it. */
const EXECUTED_MAX = 64;
/** The shell's own commands that take a subscript, and expand what is in it: `unset 'a[$(rm x)]'` removes. */
const TAKES_SUBSCRIPTS = new Set(
  "test [ let declare typeset local readonly export printf read unset mapfile readarray wait getopts".split(" "),
);

const FD = new Set(["fd", "fdfind"]);
const FINDS = new Set(["find", ...FD]);

/** Whether the command is known for running another one. */
export function runsOthers([first]: readonly ShellWord[]): boolean {
  const name = first?.shown.slice(first.shown.lastIndexOf("/") + 1) ?? "";
  return WRAPPERS.has(name) || SHELLS.has(name) || FINDS.has(name) || RUNS_TEXTS.has(name);
}

export function isShell({ shown }: ShellWord): boolean {
  return SHELLS.has(shown.slice(shown.lastIndexOf("/") + 1));
}

/** What a command with these words runs, besides itself. `input` is what it is given by a here-document, when that is fixed. */
export function innerCommands(words: readonly ShellWord[], input: ShellWord | undefined): readonly Inner[] {
  const [first, ...args] = words;
  if (first === undefined || !isStatic(first)) return [];
  const name = first.shown.slice(first.shown.lastIndexOf("/") + 1);
  const wrapper = WRAPPERS.get(name);
  if (wrapper !== undefined) return ofWrapper(wrapper, args);
  if (SHELLS.has(name)) return ofShell(args, input);
  if (name === "find" || FD.has(name)) return ofFind(args, FD.has(name));
  if (name === "eval") return args.length === 0 ? [] : [{ type: "text", text: joined(withoutDashes(args)) }];
  if (name === "trap") return withoutDashes(args).slice(0, 1).filter(isCode).map(textOf);
  if (name === "alias") return args.map(afterEquals).map(textOf);
  if (name === "source" || name === ".") return isScript(args[0]) ? [] : unread("sources what is not a plain file");
  if (RUNS_TEXTS.has(name)) return unread(`${name} runs what it is given as texts`);
  if (args.some(({ shown }) => RUNS_BY_OPTION.get(name)?.test(shown) === true)) {
    return unread(`${name} runs or replaces commands by this option`);
  }
  return TAKES_SUBSCRIPTS.has(name) && args.some(hidesCode) ? unread("hides a command in a subscript") : [];
}

/** Whether a fixed text would run something once the shell takes it for arithmetic: `a[$(rm x)]`. */
export function hidesCode({ holed }: ShellWord): boolean {
  return holed.includes("[") && /\$[({]|`/.test(holed);
}

function ofWrapper(wrapper: Wrapper, args: readonly ShellWord[]): readonly Inner[] {
  const { prints, operands = 0, isText = false, appends = false } = wrapper;
  if (prints?.test(args[0]?.shown ?? "") === true) return [];
  const rest = afterOptions(wrapper, args);
  if (rest === undefined) return unread("has options that are not fixed before the command it runs");
  const command = rest.slice(operands);
  const text = textOption(wrapper, args, command);
  const doubt = doubtOf(wrapper, args.slice(0, args.length - rest.length));
  if (text !== undefined) return [textOf(text), ...doubt];
  if (command.length === 0) return doubt;
  if (isText) return [textOf(joined(command)), ...doubt];
  if (!appends) return [{ type: "words", words: command }, ...doubt];
  const given = [...withPlaceholders(command, placeholder(args)), unknownWord("{}")];
  return [{ type: "words", words: given }, ...doubt];
}

/** Whether its options say for certain where the command begins, and that it is run as it is. */
function doubtOf({ plain, values = "", longs = [] }: Wrapper, options: readonly ShellWord[]): readonly Inner[] {
  for (let at = 0; at < options.length; at += 1) {
    const option = options[at];
    if (option === undefined || option.shown === "--") break;
    if (!isStatic(option) || plain?.test(option.shown) !== true) {
      return unread("gives a command that runs another an option that is not known to be safe");
    }
    if (takesNext(option.shown, values, longs)) at += 1;
  }
  return [];
}

/** The value of `-c` and the like: among the options, or where the command would begin. */
function textOption(
  { text }: Wrapper,
  args: readonly ShellWord[],
  command: readonly ShellWord[],
): ShellWord | undefined {
  if (text === undefined) return undefined;
  const isInstead = command.length === 0 || text.test(command[0]?.shown ?? "");
  return optionValue(text, isInstead ? args : args.slice(0, args.length - command.length));
}

/** The words behind the options; undefined when an option is not fixed. */
function afterOptions(
  { values = "", longs = [] }: Wrapper,
  args: readonly ShellWord[],
): readonly ShellWord[] | undefined {
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at];
    if (word === undefined || (!isStatic(word) && !/^[\w./-]/.test(word.holed))) return undefined;
    const { shown } = word;
    if (!/^-./.test(shown) && shown !== "-") return args.slice(at);
    if (!isStatic(word)) return undefined;
    if (shown === "--") return args.slice(at + 1);
    if (takesNext(shown, values, longs)) at += 1;
  }
  return [];
}

function takesNext(option: string, values: string, longs: readonly string[]): boolean {
  if (option.startsWith("--")) return !option.includes("=") && longs.some((long) => long.startsWith(option.slice(2)));
  const letters = option.slice(1);
  const taking = [...letters].findIndex((letter) => values.includes(letter));
  return taking === letters.length - 1 && letters.length > 0;
}

/** A shell: its `-c` text, or the script that it reads from its input when it is given no file. */
function ofShell(args: readonly ShellWord[], input: ShellWord | undefined): readonly Inner[] {
  const isOption = ({ shown, holed }: ShellWord): boolean => /^[-+]./.test(shown) && isStatic({ shown, holed });
  const options: string[] = [];
  let at = 0;
  for (let word = args[at]; word !== undefined && isOption(word); word = args[at]) {
    at += /^([-+][a-zA-Z]*[oO]|--(rcfile|init-file))$/.test(word.shown) ? 2 : 1;
    options.push(word.shown);
    if (word.shown === "--") break;
  }
  const operand = args[at];
  // Others read files first (-l, -i, --rcfile), or change how the text is read.
  const isOdd = options.some((option) => !/^-[ceuns]+$|^--(?:posix|norc|noprofile|version|help)?$/.test(option));
  const doubt = isOdd ? unread("gives a shell an option that is not known to be safe") : [];
  if (options.some((option) => /^-[a-zA-Z]*c/.test(option))) {
    return operand === undefined ? doubt : [textOf(operand), ...doubt];
  }
  if (options.some((option) => /^--(version|help)$/.test(option))) return [];
  const isFile =
    operand !== undefined && operand.shown !== "-" && !options.some((option) => /^-[a-zA-Z]*s/.test(option));
  if (isFile) return isScript(operand) ? doubt : unread("is a shell whose script is not a plain file");
  return input === undefined
    ? unread("is a shell that is given its commands from elsewhere")
    : [textOf(input), ...doubt];
}

/** The commands behind find's -exec, and behind fd's -x, which takes all that follows. */
function ofFind(args: readonly ShellWord[], isForFd: boolean): readonly Inner[] {
  const found: Inner[] = [];
  for (const [index, { shown }] of args.entries()) {
    const isFd = /^(?:-[xX]|--exec(?:-batch)?)$/.test(shown);
    const isGlued = isForFd && !isFd && /^-[A-Za-z]*[xX]|^--exec/.test(shown);
    if (isGlued || found.length >= EXECUTED_MAX) {
      return [...found, ...unread("runs commands in a way that is not read")];
    }
    if (!isFd && !EXECUTES.test(shown)) continue;
    const rest = args.slice(index + 1);
    const end = isFd ? -1 : rest.findIndex((word) => word.shown === ";" || word.shown === "+");
    const command = end < 0 ? rest : rest.slice(0, end);
    if (command.length > 0) found.push({ type: "words", words: withPlaceholders(command, "{}") });
  }
  return found;
}

/** What xargs and parallel replace: the value of -I, or `{}`. */
function placeholder(args: readonly ShellWord[]): string {
  const value = optionValue(/^(?:-[0oprtx]*I|-[0oprtx]*i(?=.)|--replace=)/, args)?.shown;
  return value === undefined || value === "" ? "{}" : value;
}

function withPlaceholders(words: readonly ShellWord[], replaced: string): readonly ShellWord[] {
  return words.map((word) => (word.shown.includes(replaced) ? unknownWord(word.shown) : word));
}

/** The value of the first option of that form: the rest of its word, or the next word. */
function optionValue(option: RegExp, args: readonly ShellWord[]): ShellWord | undefined {
  const index = args.findIndex(({ shown }) => option.test(shown));
  const word = args[index];
  if (word === undefined) return undefined;
  const [, rest = ""] = word.shown.split(option);
  if (rest === "") return args[index + 1];
  return isStatic(word) ? staticWord(rest) : unknownWord(rest);
}

/** A file by a fixed name, and not one that is another way to say standard input or a pipe. */
function isScript(word: ShellWord | undefined): boolean {
  return word !== undefined && isStatic(word) && !/^\/(dev|proc)\//.test(word.shown);
}

function withoutDashes(args: readonly ShellWord[]): readonly ShellWord[] {
  return args[0]?.shown === "--" ? args.slice(1) : args;
}

/** A trap's action: neither an option nor one of the words for "default" and "ignore". */
function isCode({ shown }: ShellWord): boolean {
  return shown !== "" && !/^-/.test(shown);
}

function afterEquals({ shown, holed }: ShellWord): ShellWord {
  return { shown: shown.slice(shown.indexOf("=") + 1), holed: holed.slice(holed.indexOf("=") + 1) };
}

function unread(why: string): readonly Inner[] {
  return [{ type: "unread", why }];
}

function textOf(text: ShellWord): Inner {
  return { type: "text", text };
}
