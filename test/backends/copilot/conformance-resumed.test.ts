/** The conformance suite's sessions once more, with none kept open: each step resumes what was committed, as after a crash. */
import { describeSessions } from "../conformance.ts";
import { COPILOT_WIRES, startResuming } from "./copilot-under-test.ts";

for (const wire of COPILOT_WIRES) {
  describeSessions(`copilot over the ${wire} wire, resumed for each step`, () => startResuming(wire));
}
