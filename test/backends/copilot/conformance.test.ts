/** The copilot backend passes the conformance suite on each of its wires. */
import { describeBackend } from "../conformance.ts";
import { COPILOT_WIRES, startCopilot } from "./copilot-under-test.ts";

for (const wire of COPILOT_WIRES) describeBackend(`copilot over the ${wire} wire`, () => startCopilot(wire));
