/** Whose work runs: a call's or a module's, and all that it leaves behind, such as timers and promises that nobody waits for. */
import { AsyncLocalStorage } from "node:async_hooks";

/** The session, the call and the tool, as they are in a line of the log; of a module that is loaded, its path as it was given. */
export type PluginPlace = Readonly<Record<string, unknown>>;

export class PluginWork {
  readonly #places = new AsyncLocalStorage<PluginPlace>();

  run<T>(place: PluginPlace, work: () => T): T {
    return this.#places.run(place, work);
  }

  /** Undefined where no tool of a plugin has led to. */
  get place(): PluginPlace | undefined {
    return this.#places.getStore();
  }
}
