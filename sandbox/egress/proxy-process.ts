/** The proxy's own process: `proxy-process <sandbox folder> <number of its claim>`. It ends soon after its folder is gone. */
import { readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import type { AllowedHost } from "../../contract/sandbox.ts";
import { allowList } from "./allow-list.ts";
import { createDecisionRecord } from "./decisions.ts";
import { systemResolve } from "./destination.ts";
import { gateFolder, proxyPlace, SOCKET_NAME } from "./egress.ts";
import { becomeReady, endWithPlace, letGoOfStarter } from "./holder.ts";
import { createProxy } from "./proxy.ts";

const [folder = "", number = ""] = process.argv.slice(2);
const place = proxyPlace(folder);
const allow: readonly AllowedHost[] = JSON.parse(readFileSync(path.join(folder, "egress", "allow.json"), "utf8"));

// The name of a socket has at most 107 bytes, and sandbox folders may be deep.
process.chdir(gateFolder(folder));
process.umask(0o177);

const proxy = createProxy({ list: allowList(allow), resolve: systemResolve, record: createDecisionRecord(folder) });
const ownName = `.${number}.sock`;
proxy.listen(ownName, () => {
  // By a rename, so that there is never a moment without one of the two.
  renameSync(ownName, SOCKET_NAME);
  for (const name of readdirSync(".")) if (name !== SOCKET_NAME) rmSync(name, { force: true });
  becomeReady(place, number);
  letGoOfStarter();
});
proxy.once("error", () => process.exit(1));
endWithPlace(place, number);
