/** A process of its own that starts a sandbox's proxy and then stays, to be killed: `egress-starter <folder> <host:port>`. */
import { setTimeout as delay } from "node:timers/promises";
import { startEgress } from "../../sandbox/egress/egress.ts";

const [folder = "", allow = ""] = process.argv.slice(2);
process.stdout.write("begun\n");
await startEgress({ folder, allow: [allow] });
process.stdout.write("started\n");
await delay(60_000);
