/**
 * One sandbox at Modal as a handle holds it: each thing that is asked of it ends within a time, over a new connection if the
 * first is broken, and what is gone is said to be lost however the connection puts it.
 */
import type { Sandbox as ModalSandbox } from "modal";
import { LIMITS } from "../contract/limits.ts";
import { isMissing, isNamed, isRefusal, modalError } from "./modal-errors.ts";
import { SandboxError } from "./provider.ts";

/** How long an answer to "is it still there" is good when there is a reason to ask. */
const LOOK_AGAIN_MS = 500;

export interface ModalLink {
  /** Does something with the sandbox. `what` is for the error, as in "Modal could not …". Throws SandboxError only. */
  use<T>(what: string, work: (handle: ModalSandbox) => Promise<T>, limitMs?: number): Promise<T>;
  /** Waits for something that may take as long as it likes, unless the sandbox is gone: then it rejects with `lost`. */
  hold<T>(work: Promise<T>): Promise<T>;
  /** Rejects with `lost` when Modal says that the sandbox has ended. */
  confirm(): Promise<void>;
  /** What an error of this sandbox means. */
  failure(error: unknown, what: string): Promise<SandboxError>;
  /** Gives the connection back, as soon as what runs over it is done. The link is of no use afterwards. */
  close(): void;
}

export interface ModalLinkOptions {
  readonly first: ModalSandbox;
  /** Another handle of the same sandbox. */
  readonly again: () => Promise<ModalSandbox>;
}

export function createModalLink({ first, again }: ModalLinkOptions): ModalLink {
  let handle = first;
  let isClosed = false;
  let isOver = false;
  let look: { readonly at: number; readonly done: Promise<void> } | undefined;

  /** Whether Modal says that it has ended. What it does not say is not so. */
  async function hasEnded(goodForMs = LOOK_AGAIN_MS): Promise<boolean> {
    if (isOver) return true;
    if (look === undefined || Date.now() - look.at > goodForMs) look = { at: Date.now(), done: askWhetherOver() };
    await look.done;
    return isOver;
  }
  async function askWhetherOver(): Promise<void> {
    // Asked over the control plane by a handle that never has a connection of its own.
    const answer = again().then((other) => other.poll());
    try {
      // No answer says nothing, and nobody waits longer for it than until the next question.
      const code = await Promise.race([answer, pause(LIMITS.modalLookMs.every).then(() => null)]);
      isOver ||= code !== null;
    } catch (error) {
      isOver ||= isMissing(error);
    }
  }

  function race<T>(work: Promise<T>, limitMs: number | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      let isDone = false;
      const began = Date.now();
      const done = (settle: () => void) => {
        isDone = true;
        clearTimeout(timer);
        settle();
      };
      const next = (ms: number, goodForMs: number) => {
        timer = setTimeout(() => void lookUp(goodForMs), ms).unref();
      };
      const lookUp = async (goodForMs: number) => {
        if (limitMs !== undefined && Date.now() - began >= limitMs) return done(() => reject(tooLate()));
        const ended = await hasEnded(goodForMs);
        if (isDone) return;
        if (ended) done(() => reject(gone()));
        else next(LIMITS.modalLookMs.every, LIMITS.modalLookMs.every); // However many wait, one look does for all.
      };
      next(Math.min(LIMITS.modalLookMs.first, limitMs ?? LIMITS.modalLookMs.first), LOOK_AGAIN_MS);
      work.then(
        (value) => done(() => resolve(value)),
        (error: unknown) => done(() => reject(error)),
      );
    });
  }

  async function failure(error: unknown, what: string): Promise<SandboxError> {
    if (error instanceof SandboxError) return error;
    if (isClosed) return new SandboxError("failed", "this handle of the sandbox was given back");
    // It has ended, says the SDK itself.
    if (isNamed(error, "ConflictError") || (await hasEnded())) return gone(error);
    return modalError(error, what);
  }

  return {
    async use(what, work, limitMs = LIMITS.modalExecMs) {
      for (let isRepeat = false; ; isRepeat = true) {
        if (isClosed) throw new SandboxError("failed", "this handle of the sandbox was given back");
        const current = handle;
        try {
          return await race(work(current), limitMs);
        } catch (error) {
          const failed = await failure(error, what);
          if (isRepeat || isClosed || failed.kind === "lost" || failed === error || isRefusal(error)) throw failed;
          // Its place may have moved, or the connection is of no use any more. What runs over the old one ends by itself.
          if (handle === current) {
            handle = await again();
            current.detach();
          }
        }
      }
    },
    hold: (work) => race(work, undefined),
    async confirm() {
      if (await hasEnded()) throw gone();
    },
    failure,
    close() {
      isClosed = true;
      handle.detach();
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

function gone(cause?: unknown): SandboxError {
  return new SandboxError("lost", "the sandbox is gone: Modal has ended it", { cause });
}

function tooLate(): SandboxError {
  return new SandboxError("failed", "Modal did not answer in time");
}
