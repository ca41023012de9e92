/** Part of the conformance suite: images, files, and answers of a given shape. */
import { describe, expect, test } from "vitest";
import { BackendError } from "../../backends/backend.ts";
import type { InputBlock } from "../../contract/blocks.ts";
import { linesOf } from "../support/seen-conversation.ts";
import { failureOf, type Given } from "./backend-under-test.ts";
import { scripted } from "./played-session.ts";

/** One red pixel. */
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const IMAGE: InputBlock = { type: "image", data: PNG, mediaType: "image/png" };
const FILE: InputBlock = {
  type: "file",
  filename: "note.txt",
  data: Buffer.from("a note").toString("base64"),
  mediaType: "text/plain",
};
const SCHEMA = {
  type: "object",
  properties: { colour: { type: "string" } },
  required: ["colour"],
  additionalProperties: false,
};

export function describeContents(given: () => Given): void {
  describe("a message", () => {
    test("with an image shows it to the model, now and in later steps, or is refused in words", async () => {
      const { run, session, entry, last } = given();
      const played = session();
      const prompt = scripted({ tools: [{ name: "look" }] }, { text: "red" });
      played.say([{ type: "text", text: prompt }, IMAGE]);
      if (!entry.capabilities.images) {
        expect(await failureOf(played.step(run))).toMatchObject({ code: "INVALID_INPUT", retryable: false });
        return;
      }

      await played.step(run);
      const first = imagesOf(last());
      played.answer();
      await played.step(run);

      expect(first).toEqual([`data:image/png;base64,${PNG}`]);
      expect(imagesOf(last())).toEqual(first);
    });

    test("with a file shows it to the model, or is refused in words", async () => {
      const { run, session, entry, last } = given();
      const played = session();
      played.say([{ type: "text", text: scripted({ text: "read" }) }, FILE]);
      if (!entry.capabilities.files) {
        const error = await failureOf(played.step(run));
        expect(error).toMatchObject({ code: "INVALID_INPUT", retryable: false });
        expect(error.message).toContain("note.txt");
        return;
      }

      await played.step(run);

      expect(last().entries.flatMap((one) => (one.role === "user" ? one.files : []))).toEqual(["note.txt"]);
    });

    test("may be an image without a word", async () => {
      const { run, session, entry, last } = given();
      if (!entry.capabilities.images) return; // The refusal is tested above.
      const played = session();
      played.say([IMAGE]);
      played.say(scripted({ text: "red" }));

      await played.step(run);

      expect(imagesOf(last())).toHaveLength(1);
    });

    test("with a file that the wire does not take ends its turn in words, and does not spoil the ones after it", async () => {
      const { run, session, entry } = given();
      if (!entry.capabilities.files) return; // The refusal is tested above.
      const files = [
        { type: "file" as const, filename: "a.bin", mediaType: "application/octet-stream", data: "AAAA" },
        { type: "file" as const, filename: "b.pdf", url: "https://files.example/b.pdf" },
      ];
      const played = session();
      for (const file of files) {
        played.say([{ type: "text", text: scripted({ text: "taken" }) }, file]);
        const outcome = await played.step(run).catch((error: unknown) => error);
        if (outcome instanceof BackendError) {
          expect(outcome).toMatchObject({ code: "INVALID_INPUT", message: expect.stringContaining(file.filename) });
        }
      }

      expect((await played.turn(run, scripted({ text: "and on" }))).blocks).toEqual([{ type: "text", text: "and on" }]);
    });

    test("holds no commands: words that a runtime may take for its own reach the model as they are", async () => {
      const { run, session, last, entry } = given();
      const played = session();
      const words = ["/compact", "!ls", "see @README.md #1", "at [[attachment 0.1]] <current_datetime>now</x> {{y}}"];
      const images = entry.capabilities.images ? [IMAGE] : [];
      played.say([{ type: "text", text: "first of all" }, ...images]);
      for (const text of words) played.say(text);
      played.say(scripted({ tools: [{ name: "look" }] }, { text: "ok" }));

      await played.step(run);
      played.answer(() => ({ text: words.join("\n") }));
      await played.step(run);

      const lines = linesOf(last());
      expect(lines.slice(1, 1 + words.length)).toEqual(words.map((text) => `user: ${text}`));
      expect(lines.at(-1)).toBe(`result: ${words.join("\n")}`);
      expect(imagesOf(last())).toHaveLength(images.length);
    });

    test("of several texts shows them all, in their order", async () => {
      const { run, session, last } = given();
      const played = session();
      const texts = ["the first text", "the second text", scripted({ text: "ok" })];
      played.say(texts.map((text) => ({ type: "text", text })));

      await played.step(run);

      const shown = last().entries.flatMap((one) => (one.role === "user" ? one.texts : []));
      expect(inOrder(shown.join("\n"), texts)).toBe(true);
    });
  });

  describe("an answer with a schema", () => {
    test("is asked for as the capabilities say, and comes as text", async () => {
      const { run, session, entry, last } = given();
      const played = session({ outputSchema: SCHEMA, instructions: "be brief" });
      const text = JSON.stringify({ colour: "red" });
      const prompt = scripted({ tools: [{ name: "look" }] }, { text });

      const { blocks } = await played.turn(run, prompt);

      expect(blocks).toEqual([{ type: "text", text }]);
      const { outputSchema, system } = last();
      if (entry.capabilities.structuredOutput === "native") expect(outputSchema).toEqual(SCHEMA);
      else expect(system.join("\n")).toContain(JSON.stringify(SCHEMA));
    });

    test("that does not fit is passed on as it is: to judge it is not the backend's", async () => {
      const { run, session } = given();
      const played = session({ outputSchema: SCHEMA });
      played.say(scripted({ text: "no JSON" }));

      expect((await played.step(run)).blocks).toEqual([{ type: "text", text: "no JSON" }]);
    });
  });
}

function imagesOf({ entries }: ReturnType<Given["last"]>): readonly string[] {
  return entries.flatMap((entry) => (entry.role === "user" ? entry.images : []));
}

/** Whether the parts stand in the text one after another, and each only once. */
export function inOrder(text: string, parts: readonly string[]): boolean {
  const places = parts.map((part) => text.indexOf(part));
  return (
    places.every((place, i) => place > (places[i - 1] ?? -1)) && parts.every((part) => text.split(part).length === 2)
  );
}
