/** Where the SDK and the runtime's program of this platform are. Nothing is ever downloaded for them. */

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import type { CopilotClient, CopilotRequestHandler, RuntimeConnection } from "@github/copilot-sdk";
import { BackendError } from "../backend.ts";

export interface Sdk {
  readonly CopilotClient: typeof CopilotClient;
  readonly CopilotRequestHandler: typeof CopilotRequestHandler;
  readonly RuntimeConnection: typeof RuntimeConnection;
}

export interface Platform {
  loadSdk(): Promise<Sdk>;
  /** Throws DEPENDENCY_MISSING. */
  runtimePath(): string;
}

/** What is installed beside us. */
export function installedPlatform(name: string = platformName()): Platform {
  return {
    loadSdk: async () => {
      try {
        return await import("@github/copilot-sdk");
      } catch (cause) {
        const message = "the package @github/copilot-sdk cannot be loaded; run npm ci";
        throw new BackendError("DEPENDENCY_MISSING", message, { cause });
      }
    },
    runtimePath: () => {
      const packageName = `@github/copilot-sdk-${name}`;
      const program = name.startsWith("win32") ? "copilot-runtime.exe" : "copilot-runtime";
      const found = searchPaths(packageName)
        .map((folder) => path.join(folder, packageName, "prebuilds", name, program))
        .find((file) => existsSync(file));
      if (found !== undefined) return found;
      throw new BackendError(
        "DEPENDENCY_MISSING",
        `the copilot runtime for ${name} is not installed: there is no package ${packageName}; run npm ci without --omit=optional on a platform that it exists for (Linux, macOS or Windows on x64 or arm64)`,
      );
    },
  };
}

function searchPaths(packageName: string): readonly string[] {
  return createRequire(import.meta.url).resolve.paths(packageName) ?? [];
}

function platformName(): string {
  const { platform, arch } = process;
  if (platform !== "linux") return `${platform}-${arch}`;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return `${report.header?.glibcVersionRuntime === undefined ? "linuxmusl" : "linux"}-${arch}`;
}
