/** The copilot backend passes the conformance suite on each of its wires. */
import { describeBackend, type Wire } from "../conformance.ts";
import { startRegistered } from "../registered-backend.ts";

const WIRES: readonly [wire: Wire, wireApi: string][] = [
  ["responses", "responses"],
  ["chat_completions", "completions"],
  ["anthropic", "anthropic"],
];

for (const [wire, wireApi] of WIRES) {
  describeBackend(`copilot over the ${wire} wire`, () =>
    startRegistered({
      name: "copilot",
      wire,
      environment: (url, key) => ({
        COPILOT_PROVIDER_BASE_URL: url,
        COPILOT_PROVIDER_API_KEY: key,
        COPILOT_PROVIDER_WIRE_API: wireApi,
      }),
      keyless: () => ({}),
      keyVariables: ["COPILOT_GITHUB_TOKEN", "COPILOT_PROVIDER_BASE_URL", "COPILOT_PROVIDER_API_KEY"],
    }),
  );
}
