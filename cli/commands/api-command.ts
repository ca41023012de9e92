/** What the commands that talk to the API share: the option that says where it is, and how their numbers are read. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { SessionId } from "../../contract/ids.ts";
import { SandboxProviderName } from "../../contract/sandbox.ts";
import { apiAddress, givenAddress } from "../api-address.ts";
import { apiToken } from "../api-token.ts";
import { Client } from "../client.ts";

export interface ApiOptions {
  readonly url?: string;
}

/** Adds `--url` to a command. */
export function withApi(command: Command): Command {
  return command.option("--url <url>", "where the API is (default: the stack of the state directory)", httpUrl);
}

export function apiClient(options: ApiOptions, env: NodeJS.ProcessEnv): Client {
  const address = apiAddress(options.url, env);
  return new Client(address, apiToken({ address, isGiven: (options.url ?? givenAddress(env)) !== undefined }, env));
}

/** What a hint must repeat, so that the next command finds the same API. */
export function urlOption({ url }: ApiOptions): string {
  return url === undefined ? "" : ` --url ${url}`;
}

/** `--sandbox`, for commands that make a session. */
export function sandboxOption(): Option {
  const option = new Option("--sandbox <provider>", "where a new session's commands run: see `perdure sandboxes`");
  return option.choices(SandboxProviderName.options);
}

/** A reader of session ids for commander: what can be none never becomes part of a URL. */
export function sessionId(text: string): SessionId {
  const read = SessionId.safeParse(text);
  if (read.success) return read.data;
  throw new InvalidArgumentError(`A session's id is ${read.error.issues[0]?.message.replace("expected ", "")}.`);
}

/** A reader of whole numbers for commander. */
export function integerFrom(min: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d{1,15}$/.test(text) && value >= min) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${min}.`);
  };
}

function httpUrl(text: string): string {
  if (URL.canParse(text) && ["http:", "https:"].includes(new URL(text).protocol)) return text;
  throw new InvalidArgumentError("Expected an address such as http://127.0.0.1:8700.");
}
