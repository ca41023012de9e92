/** A relay in a container's network: `container-relay-process <port> <gate folder> <pid in the container> <place> <claim>`. */
import { readlinkSync } from "node:fs";
import { SOCKET_NAME } from "./egress.ts";
import { becomeReady, endWithPlace, letGoOfStarter } from "./holder.ts";
import { listenRelay } from "./relay-process.ts";

const [port = "", gate = "", pid = "", place = "", number = ""] = process.argv.slice(2);
process.chdir(gate);
const own = readlinkSync("/proc/self/ns/net");
listenRelay(Number(port), SOCKET_NAME, () => {
  becomeReady(place, number, `${own}:${port}`);
  letGoOfStarter();
});
// The sandbox's folder may outlive its container.
endWithPlace(place, number, () => readlinkSync(`/proc/${pid}/ns/net`) !== own);
