/** Parameters that several operations share. */
import { z } from "zod";
import { ArtifactId, CallId, MessageId, SessionId } from "../contract/ids.ts";

export const SessionParams = z.strictObject({ sessionId: SessionId });

export const MessageParams = z.strictObject({ sessionId: SessionId, messageId: MessageId });

export const CallParams = z.strictObject({ sessionId: SessionId, callId: CallId });

export const ArtifactParams = z.strictObject({ sessionId: SessionId, artifactId: ArtifactId });

/** A whole number in a query string: plain digits, for `Number("")` is 0 and `Number("1e3")` a thousand. */
export function integerParameter(range: { readonly min: number; readonly max: number }, what: string) {
  const rule = `expected ${what}: a whole number from ${range.min} to ${range.max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, rule)
    .transform(Number)
    .pipe(z.number().int().min(range.min, rule).max(range.max, rule))
    .meta({
      override: ({ jsonSchema }) => {
        delete jsonSchema.pattern;
        Object.assign(jsonSchema, { type: "integer", minimum: range.min, maximum: range.max });
      },
    });
}
