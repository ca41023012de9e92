/** A container's whole disk as an image of its engine. */
import { randomBytes } from "node:crypto";
import type { SandboxId } from "../contract/ids.ts";
import { type DockerEngine, DockerError } from "./docker-engine.ts";
import { SandboxError } from "./provider.ts";

const REPOSITORY = "perdure-snapshot";

/**
 * Gives the image's name, which `open` takes. It has the container's labels, its owner among them, and stays at the engine
 * until somebody removes it. What commands write meanwhile waits.
 */
export async function snapshotContainer(
  engine: DockerEngine,
  { id, container }: { readonly id: SandboxId; readonly container: string },
): Promise<string> {
  const tag = `${id.toLowerCase()}-${randomBytes(4).toString("hex")}`;
  try {
    await engine.call("keep the container", (docker) =>
      docker.getContainer(container).commit({ repo: REPOSITORY, tag, pause: true }),
    );
  } catch (thrown) {
    if (!(thrown instanceof DockerError)) throw thrown;
    const kind = thrown.status === 404 ? "lost" : "failed";
    throw new SandboxError(kind, `the sandbox could not be kept as an image: ${thrown.said}`, { cause: thrown });
  }
  return `${REPOSITORY}:${tag}`;
}
