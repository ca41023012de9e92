/**
 * The name of a call as it is shown to a provider again. A model makes up names, and most providers refuse those with
 * other characters, or none: with them every later request of the conversation.
 */

/** What agents and their handoffs can call a tool is never changed. */
const USUAL = /^[\w-]{1,76}$/;
const CHARACTERS = 64;

export function shownToolName(name: string): string {
  if (USUAL.test(name)) return name;
  return name.replaceAll(/[^\w-]/g, "_").slice(0, CHARACTERS) || "unnamed";
}
