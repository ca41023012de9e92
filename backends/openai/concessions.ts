/**
 * Fields that we add to a request by ourselves, and that some models or servers refuse: left out once they were refused.
 *
 * No list of model names could be right for every server that speaks this wire. A refused request has produced
 * nothing, so sending it again without the field at once is still one model call.
 */
import { LIMITS } from "../../contract/limits.ts";

const FIELDS = [
  "include",
  "reasoning.summary",
  "prompt_cache_key",
  "store",
  "parallel_tool_calls",
  "stream_options",
  "max_tokens",
] as const;
export type Concession = (typeof FIELDS)[number];

const REFUSAL =
  /unknown|unrecogni[sz]ed|unsupported|not supported|unexpected|extra|forbidden|not permitted|must be verified/i;

export class Concessions {
  readonly #made = new Map<string, ReadonlySet<Concession>>();

  /** What to leave out for this model. */
  of(model: string): ReadonlySet<Concession> {
    return this.#made.get(model) ?? new Set();
  }

  /** True when the error refuses one more of our fields: then the request is worth another try without it. */
  learn(model: string, error: unknown): boolean {
    const field = refusedField(error);
    const made = this.of(model);
    if (field === undefined || made.has(field)) return false;
    if (this.#made.size >= LIMITS.modelsListedMax) this.#made.clear();
    this.#made.set(model, new Set([...made, field]));
    return true;
  }
}

function refusedField(error: unknown): Concession | undefined {
  const { status, param, message } = error as { status?: unknown; param?: unknown; message?: unknown };
  if (status !== 400 && status !== 422) return undefined;
  const words = typeof message === "string" ? message : "";
  if (!REFUSAL.test(words)) return undefined;
  if (/encrypted content/i.test(words)) return "include";
  if (/reasoning summar/i.test(words)) return "reasoning.summary";
  return FIELDS.find((field) => param === field) ?? FIELDS.find((field) => new RegExp(`\\b${field}\\b`).test(words));
}

/** Whether a provider cannot read the reasoning that is sent back to it: of another key, deployment or model, or of none of its own. */
export function refusesReasoning(error: unknown): boolean {
  const { status, code, message } = error as { status?: unknown; code?: unknown; message?: unknown };
  const words = `${typeof code === "string" ? code : ""} ${typeof message === "string" ? message : ""}`;
  return (status === 400 || status === 422) && /encrypted.content|reasoning|thinking|thought/i.test(words);
}

/** Whether a provider says that it cannot take a picture or a file: too large, of a kind that it does not know, or of a model without eyes. */
export function refusesPictures(error: unknown): boolean {
  const { status, code, message } = error as { status?: unknown; code?: unknown; message?: unknown };
  const words = `${typeof code === "string" ? code : ""} ${typeof message === "string" ? message : ""}`;
  const isRefusal = status === 400 || status === 404 || status === 413 || status === 415 || status === 422;
  return (
    isRefusal &&
    /image|picture|vision|multi-?modal|media.type|pdf|document|input_file|file_data|attachment/i.test(words)
  );
}
