/**
 * The watcher of one bubblewrap sandbox: POSIX sh beside it, for as long as anything lives in it, whoever started that. It holds
 * the disk, the host's free space and, where there is no cgroup, the memory; it outlives the worker.
 *
 * Between two looks at all files it asks the file system only how much is free: less by what the sandbox may still fill means
 * to look at once. So looks cost a twentieth of the time, a quarter in a huge workspace, and growth is still seen soon. Files that have
 * no name any more count while they are open or mapped, and each file counts as at least one block.
 */
import path from "node:path";
import { LIMITS } from "../contract/limits.ts";
import type { DetachedScript } from "./detached.ts";
import { holdPlace, makePlace, stopHolder } from "./egress/holder.ts";
import { ONCE_AND_NAP } from "./supervisor.ts";

/** What a command is said to have ended with: as if the kernel had ended it for the file, or for the memory. */
const CODES = { disk: 153, memory: 137 } as const;
const IDLE_MS = 1_500;
/** So long at most it rests between two looks that are quick. */
const REST_MS = 3_000;
const PACE_MS = { resting: 500, growing: 125 } as const;
/** Of each file, as file systems give space. */
const FILE_KIB = 4;
/** Growth of a workspace that is too full already is looked for from here on. */
const GROWTH_KIB = 1_024;

const WATCH_SCRIPT = `${ONCE_AND_NAP}
exec >/dev/null 2>&1 </dev/null
folder=$1 inside=$2 disk=$3 floor=$4 memory=$5 procs=$6 freezer=$7 frozen=$8 thawed=$9
shift 9
number=$1
workspace=$folder/workspace
for file in claims/[0-9]*; do [ "\${file#claims/}" -ge "$number" ] || rm -f "$file"; done
# A watcher that was killed in the middle may have left it frozen.
freeze() { [ -z "$freezer" ] || echo "$1" >"$freezer"; }
freeze "$thawed"
rm -f "$folder/ending"

members() {
  pids=
  for one in /proc/[0-9]*; do [ ! "$one/root$inside" -ef "$workspace" ] || pids="$pids \${one#/proc/}"; done
  [ -n "$pids" ]
}
alive() {
  [ -n "$procs" ] || { members; return; }
  one=
  read -r one <"$procs"
  [ -n "$one" ]
}
now() { read -r up _ </proc/uptime && up=\${up%.*}\${up#*.}; }
space() {
  set -- $(stat -f -c '%a %S %d' "$workspace")
  [ $# -eq 3 ] || return
  free=$(($1 * ($2 / 512) / 2)) inodes=$3
}
# KiB of files without a name, each once; those of other file systems (shared memory) are not on this disk.
unnamed() {
  device=$(stat -c %D "$workspace")
  set --
  for pid in $pids; do set -- "$@" "/proc/$pid/fd" "/proc/$pid/map_files"; done
  find "$@" -mindepth 1 -maxdepth 1 -lname '*(deleted)' -print0 | xargs -0 -r stat -L -c '%h %b %B %D:%i %F' |
    awk -v "device=$device:" '$1 == 0 && index($4, device) == 1 && /regular/ && !seen[$4]++ { all += $2 * $3 } END { printf "%d", all / 1024 }'
}
measure() {
  members
  now; begun=$up
  space; free_then=$free inodes_then=$inodes
  used=$(du -sk "$workspace"); used=\${used%%[!0-9]*}
  files=$(du -s --inodes "$workspace" || find "$workspace" -xdev | wc -l); files=\${files%%[!0-9]*}
  [ -n "$used" ] && [ -n "$files" ] || return
  [ $((files * ${FILE_KIB})) -le "$used" ] || used=$((files * ${FILE_KIB}))
  open=$(unnamed)
  used=$((used + \${open:-0}))
  now; took=$(((up - begun) * 10))
  # What somebody else frees hides what grows here, so that the rest is bounded too.
  due=$((took * 20))
  [ "$due" -le $((took * 3 > ${REST_MS} ? took * 3 : ${REST_MS})) ] || due=$((took * 3 > ${REST_MS} ? took * 3 : ${REST_MS}))
  [ "$due" -ge ${PACE_MS.resting} ] || due=${PACE_MS.resting}
}
# Ends all that lives in it: $1 is why, $2 the code with which its commands have ended.
finish() {
  # Before the calls are listed: one that is not among them has seen it, and waits.
  : >"$folder/ending"
  freeze "$frozen"
  told= ttys=' '
  for call in "$folder"/calls/*; do
    [ -e "$call/go" ] && [ ! -e "$call/exit" ] || continue
    once stop "exited $2"
    echo "perdure: $1; the command was ended, what it wrote is still there" >>"$call/stderr"
    told=1
  done
  members
  for pid in $pids; do
    read -r stat <"/proc/$pid/stat" && set -- "$1" "$2" \${stat##*) } || continue
    case "$7$ttys" in 0* | *" $7 "*) continue ;; esac
    ttys="$ttys$7 " told=1
    # By a child, which cannot get that terminal for its own.
    (printf '\\r\\nperdure: %s; what ran was ended\\r\\n' "$1" >"/proc/$pid/fd/1") &
    wait $!
  done
  [ -n "$told" ] || echo "perdure: $1; what still ran in the sandbox was ended before this command" >"$folder/notice"
  rounds=${LIMITS.killRounds}
  while members && [ "$rounds" -gt 0 ]; do
    kill -KILL $pids
    freeze "$thawed"
    nap 20
    ! members || freeze "$frozen"
    rounds=$((rounds - 1))
  done
  freeze "$thawed"
  rm -f "$folder/ending"
  # It has written on until it was gone, which is not the next one's doing.
  last=$disk before=999999999999 due=0
}
look() {
  measure
  last=$used
  # In a workspace that is too full already it may be cleaning up, for which a little room is needed.
  if [ "$used" -le "$disk" ] || [ "$used" -lt "$before" ]; then before=$used
  elif [ "$used" -gt $((before > disk ? before + ${GROWTH_KIB} : disk)) ]; then
    finish "the workspace holds more than its $((disk / 1024)) MiB" ${CODES.disk}
  fi
  echo "$before" >"$folder/used"
}
hold_memory() {
  [ "$memory" -gt 0 ] && members || return
  set --
  for pid in $pids; do set -- "$@" "/proc/$pid/smaps_rollup"; done
  taken=$(awk '/^Pss_(Anon|Shmem):/ { all += $2 } END { printf "%d", all }' "$@")
  [ "\${taken:-0}" -le "$memory" ] || finish "the sandbox's programs hold more than $((memory / 1024)) MiB of memory" ${CODES.memory}
}

before=0 last=0 due=0 idle=0 pace=${PACE_MS.growing}
read -r before <"$folder/used"
case $before in '' | *[!0-9]*) before=0 ;; esac
while [ -d "$workspace" ]; do
  if ! alive; then
    idle=$((idle + pace))
    # Whoever starts something says so first.
    if [ "$idle" -ge ${IDLE_MS} ]; then [ -e asked ] || exit 0; rm -f asked; idle=0; fi
    nap "$pace"
    continue
  fi
  idle=0
  space
  left=$((disk - last))
  [ "$left" -gt ${GROWTH_KIB} ] || left=${GROWTH_KIB}
  shrunk=0
  [ "\${free_then:-0}" -le "$free" ] || shrunk=$((free_then - free))
  [ "\${inodes_then:-0}" -le "$inodes" ] || shrunk=$((shrunk + (inodes_then - inodes) * ${FILE_KIB}))
  if [ "$due" -le 0 ] || [ "$shrunk" -ge "$left" ]; then look; shrunk=0; fi
  if [ "$free" -lt "$floor" ] && [ "$shrunk" -gt ${GROWTH_KIB} ]; then
    was=$last
    measure
    last=$used
    [ $((used - was)) -le ${GROWTH_KIB} ] || finish "the host's disk is almost full" ${CODES.disk}
  fi
  hold_memory
  pace=${PACE_MS.resting}
  [ "$shrunk" -lt $((left / 8)) ] && [ "$free" -ge $((floor * 2)) ] || pace=${PACE_MS.growing}
  due=$((due - pace))
  nap "$pace"
done
`;

export interface Watched {
  /** The sandbox's folder. */
  readonly folder: string;
  /** What its programs call the workspace. */
  readonly inside: string;
  readonly diskMiB: number;
  /** Of the host's file system; below it, what grows is ended. */
  readonly freeMiB: number;
  /** Undefined: a cgroup holds it. */
  readonly memoryMiB: number | undefined;
  /** Of its cgroup, where it has one: the file that lists the processes, and how to hold them still. */
  readonly processes: string | undefined;
  readonly freezer:
    | { readonly file: string; readonly words: { readonly frozen: string; readonly thawed: string } }
    | undefined;
}

export interface Watch {
  /** To be called before anything is started, and again after it: a watcher may be ending in between. */
  ensure(): Promise<void>;
}

const KIB_PER_MIB = 1024;

/** Sees to it that the sandbox's watcher runs; costs some file reads when it does. */
export function watchOf(watched: Watched, run: (script: DetachedScript) => Promise<void>): Watch {
  const place = placeOf(watched.folder);
  const kib = (mib: number | undefined): string => String((mib ?? 0) * KIB_PER_MIB);
  const { freezer } = watched;
  const args = [
    ...[watched.folder, watched.inside, kib(watched.diskMiB), kib(watched.freeMiB), kib(watched.memoryMiB)],
    ...[watched.processes ?? "", freezer?.file ?? "", freezer?.words.frozen ?? "", freezer?.words.thawed ?? ""],
  ];
  const argv = ["/bin/sh", "-c", WATCH_SCRIPT, "perdure", ...args];
  let isMade = false;
  return {
    async ensure() {
      if (!isMade) makePlace(place);
      isMade = true;
      await holdPlace({ place, name: "the sandbox's watcher", argv, run });
    },
  };
}

/** Ends the watcher of a sandbox that is being removed. */
export async function stopWatch(folder: string): Promise<void> {
  await stopHolder(placeOf(folder));
}

function placeOf(folder: string): string {
  return path.join(folder, "watch");
}
