/** The installed runtime, with an eye on which sessions are opened and closed in it. */
import type { CopilotClient, CopilotSession } from "@github/copilot-sdk";
import { installedPlatform, type Platform } from "../../../backends/copilot/platform.ts";

export interface WatchedPlatform extends Platform {
  /** The sessions that were opened, oldest first. */
  readonly opened: readonly CopilotSession[];
  /** The ids of those that were closed. */
  readonly closed: readonly string[];
}

export function watchedPlatform(): WatchedPlatform {
  const installed = installedPlatform();
  const opened: CopilotSession[] = [];
  const closed: string[] = [];
  return {
    ...{ opened, closed },
    runtimePath: () => installed.runtimePath(),
    loadSdk: async () => {
      const sdk = await installed.loadSdk();
      class WatchedClient extends sdk.CopilotClient {
        override async resumeSession(...args: Parameters<CopilotClient["resumeSession"]>): Promise<CopilotSession> {
          const session = await super.resumeSession(...args);
          opened.push(session);
          const disconnect = session.disconnect.bind(session);
          session.disconnect = async () => {
            await disconnect();
            closed.push(session.sessionId);
          };
          return session;
        }
      }
      return { ...sdk, CopilotClient: WatchedClient };
    },
  };
}
