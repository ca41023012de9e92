/** Which writers of terminals are gone with their API process. */
import { expect, test } from "vitest";
import { isWriterGone, newWriter } from "../../api/terminal-writer.ts";
import { identityOf } from "../../cli/process-identity.ts";

test.each([
  ["one of this process", newWriter(), false],
  ["one of another process that lives", `${process.ppid}:${identityOf(process.ppid)}/x`, false],
  ["one of a process that is dead", "99999999:boot:1/x", true],
  ["one of a process that had our number before", `${process.pid}:boot:1/x`, true],
  ["one of a process whose number a stranger has by now", `${process.ppid}:boot:1/x`, true],
  ["a name of before, which tells no process", "6f0c3a52-8a0f-4a39-9f43-0d3f7f5a6c11", false],
])("%s: %s", (_who, writer, gone) => {
  expect(isWriterGone(writer)).toBe(gone);
});
