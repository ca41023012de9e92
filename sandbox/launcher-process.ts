/** The launcher's own process: starts what it is told to, and goes when its parent does. What it has started stays. */
import { type DetachedScript, spawnDetached } from "./detached.ts";

process.on("message", (request: DetachedScript & { readonly id: number }) => {
  spawnDetached(request).then(
    () => process.send?.({ id: request.id }),
    (error: unknown) => process.send?.({ id: request.id, error: String(error) }),
  );
});
process.once("disconnect", () => process.exit(0));
