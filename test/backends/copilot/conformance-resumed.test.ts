/** The conformance suite once more, with no session kept open: each step resumes what was committed, as after a crash. */
import { describeBackend } from "../conformance.ts";
import { COPILOT_WIRES, startResuming } from "./copilot-under-test.ts";

for (const wire of COPILOT_WIRES) {
  describeBackend(`copilot over the ${wire} wire, resumed for each step`, () => startResuming(wire));
}
