/** The last step on the way into a bubblewrap sandbox: sh that gives a command its own variables and the way to the proxy. */
import { BECOME } from "./supervisor.ts";

/** `sh -c … perdure <program> [argument …]`: becomes the program, with the variables of \`secretVariables\`. */
export const VARIABLES_SCRIPT: string = `${BECOME}
become "$@"
`;

/**
 * The same beside a relay, which must not outlive the command: it would keep the namespaces for ever. What the command leaves
 * running keeps it, until that has ended too.
 */
export function relayScript(prelude: string): string {
  return `${BECOME}
exec 8>&2 2>/dev/null
${prelude}
trap : HUP INT QUIT TERM
(exec 2>&8 8>&-; become "$@")
code=$?
exec 8>&-
# Numbers of processes inside: the init, ourselves, the relay; and the one that looks.
alone() {
  for one in /proc/[0-9]*; do
    case \${one#/proc/} in 1 | $$ | $relay | $1) ;; *) return 1 ;; esac
  done
}
[ -n "$relay" ] || exit "$code"
if alone; then kill -KILL "$relay"; else
  (
    exec </dev/null >/dev/null
    read -r me _ </proc/self/stat
    until alone "$me"; do sleep 1; done
    kill -KILL "$relay"
  ) &
fi
exit "$code"
`;
}
