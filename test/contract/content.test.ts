/** What a person may put into a message: text or blocks, each with one source, and nothing else. */
import { expect, test } from "vitest";
import { asBlocks, Content, ToolCallBlock } from "../../contract/blocks.ts";
import { PostMessage } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";

const PNG = { data: "iVBORw0KGgo=", mediaType: "image/png" };

const TAKEN: readonly unknown[] = [
  "x",
  [{ type: "text", text: "" }],
  [{ type: "image", url: "https://example.com/a.png" }],
  [{ type: "image", url: "http://example.com/a.png", mediaType: "image/png", detail: "high" }],
  [{ type: "image", ...PNG }],
  [{ type: "file", filename: "a.pdf", data: "QUJD", mediaType: "application/pdf" }],
  [{ type: "file", filename: "ä b.txt", url: "https://example.com/a" }],
  Array.from({ length: LIMITS.messageBlocksMax }, () => ({ type: "text", text: "x" })),
];

const REFUSED: readonly (readonly [string, unknown])[] = [
  ["no text", ""],
  ["no blocks", []],
  [
    "one block more than a message may have",
    Array.from({ length: LIMITS.messageBlocksMax + 1 }, () => ({ type: "text", text: "x" })),
  ],
  ["a block that is not in a list", { type: "text", text: "x" }],
  ["null", null],
  ["a number", 7],
  ["an unknown block", [{ type: "audio", data: "QUJD", mediaType: "audio/wav" }]],
  ["a block that only agents write", [{ type: "thinking", text: "hm" }]],
  [
    "a tool result, which a person could forge",
    [{ type: "tool_result", callId: "call_1", name: "bash", outcome: "ok", text: "" }],
  ],
  ["an unknown field", [{ type: "text", text: "x", bold: true }]],
  ["an image without a source", [{ type: "image" }]],
  ["an image with two sources", [{ type: "image", url: "https://example.com/a.png", ...PNG }]],
  ["data without its media type", [{ type: "image", data: PNG.data }]],
  ["a media type that is none", [{ type: "image", data: PNG.data, mediaType: "png" }]],
  ["a media type with more behind it", [{ type: "image", data: PNG.data, mediaType: "image/png\nx: y" }]],
  ["data that is not base64", [{ type: "image", data: "not base64!", mediaType: "image/png" }]],
  ["a link to a local file", [{ type: "image", url: "file:///etc/passwd" }]],
  ["a link that is a script", [{ type: "image", url: "javascript:alert(1)" }]],
  ["a link that is data", [{ type: "image", url: "data:image/png;base64,iVBORw0KGgo=" }]],
  ["a link that is none", [{ type: "file", filename: "a", url: "example.com/a" }]],
  ["a file without a name", [{ type: "file", filename: "", data: "QUJD", mediaType: "a/b" }]],
  ["a file name without end", [{ type: "file", filename: "a".repeat(256), data: "QUJD", mediaType: "a/b" }]],
];

test.for(TAKEN.map((content, index) => [index, content] as const))("content %i is taken as it is", ([, content]) => {
  expect(Content.parse(content)).toEqual(content);
});

test.for(REFUSED)("%s is refused", ([, content]) => {
  expect(Content.safeParse(content).success).toBe(false);
});

test("a message with unknown fields, an unknown mode or a bad id is refused, and the field is named", () => {
  const wrong = PostMessage.safeParse({ content: "x", mode: "someday", id: "../x", extra: 1 });

  const paths = wrong.error?.issues.flatMap((issue) => [
    ...issue.path.map(String),
    ...(issue.code === "unrecognized_keys" ? issue.keys : []),
  ]);
  expect(paths?.sort()).toEqual(["extra", "id", "mode"]);
  expect(PostMessage.parse({ content: "x" })).toEqual({ content: "x", mode: "queue" });
});

test("text is one block, and blocks are themselves", () => {
  const blocks = [{ type: "text" as const, text: "x" }];

  expect(asBlocks("x")).toEqual(blocks);
  expect(asBlocks(blocks)).toBe(blocks);
});

test("a call keeps what the model wrote, be it an object or broken text", () => {
  for (const args of [{}, { a: [1] }, "{broken"]) {
    expect(ToolCallBlock.parse({ type: "tool_call", callId: "call_1", name: "x", arguments: args }).arguments).toEqual(
      args,
    );
  }
  expect(ToolCallBlock.safeParse({ type: "tool_call", callId: "call_1", name: "x", arguments: [1] }).success).toBe(
    false,
  );
});
