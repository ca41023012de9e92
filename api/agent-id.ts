/** The id of an agent whose maker names none: made from its name, so that it can be guessed and typed. */
import { type AgentId, newId } from "../contract/ids.ts";

const CHARACTERS_MAX = 64;

/** `Code Reviewer (v2)` as `code-reviewer-v2`. A name without a letter or digit of ours has an id without meaning. */
export function agentIdFor(name: string, keyed: string | undefined): AgentId {
  const slug = name
    .normalize("NFKD")
    .replaceAll(/\p{Mark}/gu, "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]+/g, "-")
    .replace(/^[-_]+/, "")
    .slice(0, CHARACTERS_MAX)
    .replace(/-+$/, "");
  if (slug !== "") return slug;
  return keyed ?? newId("agent");
}
