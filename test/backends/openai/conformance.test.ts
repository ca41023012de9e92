/** The openai backend passes the conformance suite on each of its wires. */
import { describeBackend } from "../conformance.ts";
import { startRegistered } from "../registered-backend.ts";
import { WIRES } from "./step-builder.ts";

for (const wire of WIRES) {
  describeBackend(`openai over the ${wire} wire`, () =>
    startRegistered({
      name: "openai",
      wire,
      modelSettings: { api: wire },
      environment: (url, key) => ({ OPENAI_BASE_URL: url, OPENAI_API_KEY: key }),
      keyless: (url) => ({ OPENAI_BASE_URL: url }),
      keyVariables: ["OPENAI_API_KEY"],
    }),
  );
}
