/** What a container may fill, on a real engine. Skipped, with the reason, where none can be. */
import { test } from "vitest";
import { whichEngine } from "../support/docker-engine.ts";
import { describeDockerBounds } from "./docker-bound-cases.ts";
import { engineOfFile } from "./docker-sandbox.ts";

const which = await whichEngine();

if (typeof which === "object") test.skip(`what a container may fill: ${which.reason}`, () => undefined);
else describeDockerBounds(engineOfFile());
