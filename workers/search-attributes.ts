/** The search attributes that sessions carry, made known to a Temporal server that does not have them yet. */
import type { Connection } from "@temporalio/client";

const NAMES = ["PerdureStatus", "PerdureAgent", "PerdureWaitingFor"];
/** `INDEXED_VALUE_TYPE_KEYWORD` of Temporal's API, and gRPC's status of a name that is taken. */
const KEYWORD = 2;
const ALREADY_EXISTS = 6;

/** Adds what is missing. Throws an Error that says what to do by hand when this client may not. */
export async function ensureSearchAttributes(
  connection: Pick<Connection, "operatorService">,
  namespace: string,
): Promise<void> {
  const known = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = NAMES.filter((name) => !(name in known.customAttributes));
  if (missing.length === 0) return;
  try {
    const searchAttributes = Object.fromEntries(missing.map((name) => [name, KEYWORD]));
    await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === ALREADY_EXISTS) return;
    const flags = missing.map((name) => `--name ${name} --type Keyword`).join(" ");
    throw new Error(
      `the Temporal namespace "${namespace}" lacks search attributes and they could not be added; ` +
        `run: temporal operator search-attribute create -n ${namespace} ${flags}`,
      { cause: error },
    );
  }
}
