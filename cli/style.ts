/** Colours, where they are wanted. */
import { styleText } from "node:util";

export type Style = (format: Parameters<typeof styleText>[0], text: string) => string;

/** Colours only on a terminal; NO_COLOR takes them away, FORCE_COLOR puts them everywhere (https://no-color.org). */
export function wantsColors(isTerminal: boolean, env: NodeJS.ProcessEnv): boolean {
  const forced = env["FORCE_COLOR"];
  if (forced !== undefined && forced !== "") return forced !== "0" && forced !== "false";
  if (env["NO_COLOR"]) return false;
  return isTerminal && env["TERM"] !== "dumb";
}

export function createStyle(hasColors: boolean): Style {
  return hasColors ? (format, text) => styleText(format, text, { validateStream: false }) : (_format, text) => text;
}
