/** The model's hidden reasoning is part of the runtime's state; beside it, in the transcript, nobody could use it. */
import type { ReplyBlock } from "../../contract/blocks.ts";
import type { StepOutput, StepSink } from "../backend.ts";

export function withoutOpaque(sink: StepSink): StepSink {
  return {
    blockStarted: (index, block) => sink.blockStarted(index, block),
    blockDelta: (index, text) => sink.blockDelta(index, text),
    blockCompleted: (index, block) => sink.blockCompleted(index, plain(block)),
  };
}

export function withoutOpaqueOutput(output: StepOutput): StepOutput {
  return { ...output, blocks: output.blocks.map(plain) };
}

function plain(block: ReplyBlock): ReplyBlock {
  return block.type === "thinking" ? { type: "thinking", text: block.text } : block;
}
