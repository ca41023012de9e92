/** Ids are safe as a path, a URL part and a workflow id, or they are refused. */
import { expect, test } from "vitest";
import { ArtifactId, CallId, MessageId, newId, SandboxId, SessionId, TurnId } from "../../contract/ids.ts";
import { sandboxName } from "../../store/sandboxes.ts";

const REFUSED = [
  "",
  ".",
  "..",
  "../x",
  "a/b",
  "a\\b",
  "/",
  "%2e%2e",
  "a%2Fb",
  "a b",
  " a",
  "a\n",
  "a\0",
  "-a",
  "_a",
  "a.b",
  "a:b",
  "a?b",
  "a#b",
  "ä",
  "а", // A Cyrillic one.
  "😀",
  "a".repeat(65),
];

test.for(REFUSED)("the name %j is refused for a session and for a message", (name) => {
  expect(SessionId.safeParse(name).success).toBe(false);
  expect(MessageId.safeParse(name).success).toBe(false);
});

test.for(["a", "0", "A-b_c", "ses_1", "a".repeat(64), "con", "__proto__".slice(2)])("the name %j is taken", (name) => {
  expect(SessionId.parse(name)).toBe(name);
  expect(MessageId.parse(name)).toBe(name);
});

test("a refusal says what was expected", () => {
  const refused = SessionId.safeParse("../x");

  expect(refused.error?.issues[0]?.message).toMatch(/^expected 1 to 64 letters, digits/);
  expect(CallId.safeParse("constructor").error?.issues[0]?.message).toMatch(/^expected call_ and 1 to 64 letters/);
});

const KINDS = [
  [TurnId, "turn_"],
  [CallId, "call_"],
  [ArtifactId, "art_"],
  [SandboxId, "sbx_"],
] as const;

test.for(KINDS)("%#: ids of one kind are not taken for another, nor with anything around them", ([schema, prefix]) => {
  expect(schema.parse(`${prefix}a-B_9`)).toBe(`${prefix}a-B_9`);
  const wrong = KINDS.filter(([, other]) => other !== prefix).map(([, other]) => `${other}a`);
  for (const id of [
    ...wrong,
    prefix,
    "a",
    ` ${prefix}a`,
    `${prefix}a `,
    `${prefix}a\n`,
    `${prefix}../a`,
    `${prefix}ä`,
  ]) {
    expect(schema.safeParse(id).success, id).toBe(false);
  }
  expect(schema.safeParse(`${prefix}${"a".repeat(101)}`).success).toBe(false);
});

test("an id for a value that is no string is refused", () => {
  for (const value of [1, null, undefined, {}, ["a"], true]) expect(SessionId.safeParse(value).success).toBe(false);
});

test("new ids are of their kind, all different, and sort by age", () => {
  const made = Array.from({ length: 5_000 }, () => newId("turn"));

  expect(new Set(made).size).toBe(5_000);
  for (const id of made.slice(0, 50)) expect(TurnId.parse(id)).toMatch(/^turn_[0-9a-hjkmnp-tv-z]{19}$/);
  const clocks = made.map((id) => id.slice(0, 14));
  expect(clocks).toEqual([...clocks].sort());
  expect(SessionId.parse(newId("ses"))).toMatch(/^ses_/);
  expect(MessageId.parse(newId("msg"))).toMatch(/^msg_/);
});

test("the sandbox of a session with the longest id has an id too", () => {
  const id = sandboxName("a".repeat(64), 1_000_000, "any");

  expect(SandboxId.parse(id)).toBe(id);
});
