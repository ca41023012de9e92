/**
 * The supervisor: POSIX sh that runs inside the sandbox and starts, watches and ends one command per call folder.
 *
 * Shipped as strings, because it must reach images that hold none of our files. Only builtins on the way from the start of
 * a command to its exit record: each other program would cost a millisecond per command.
 *
 * A call folder holds `go` (the claim: who runs it), `stdout` and `stderr` (the spools), `stop` (why it is being ended) and
 * `exit` (how it ended); `command` and `input` when they came by file. A claim and a record count when their last word is there; the first writer wins.
 */
import { LIMITS } from "../contract/limits.ts";

const BLOCK = 64 * 1024;

/** Spools are cut in whole blocks, so that a plain `dd` can do it. */
const HEAD_BLOCKS = Math.floor(LIMITS.spoolBytesMax / BLOCK);
const TAIL_BLOCKS = Math.ceil(LIMITS.spoolTailBytes / BLOCK);

/** Bytes of a spool that are kept from its beginning. */
export const SPOOL_HEAD_BYTES: number = HEAD_BLOCKS * BLOCK;
/** Bytes that are kept of its end, when it is longer. */
export const SPOOL_TAIL_BYTES: number = TAIL_BLOCKS * BLOCK;

/** Functions of sh: `nap <ms>`, and `once <file> <text>` in the folder $call. */
export const ONCE_AND_NAP: string = `
# Milliseconds to a word that sleep takes; an old sleep takes whole seconds only.
nap() {
  n=$((1000 + $1 % 1000))
  sleep "$(($1 / 1000)).\${n#1}" 2>/dev/null & nap=$!
  wait "$nap" && return
  [ $? -gt 128 ] || sleep $((($1 + 999) / 1000))
}
# The first writer of a file wins: noclobber opens with O_EXCL, as mkdir would, without a process.
once() {
  set -C
  { echo "$2"; } 2>/dev/null >"$call/$1"
  won=$?
  set +C
  return $won
}
`;

/**
 * A function of sh, beside `nap`: `stand_by <sandbox's folder>`. While its watcher ends all that lives there, nothing is begun:
 * it would be ended as well, without a word, for what others have done. A watcher that was killed meanwhile is not waited for.
 */
export const STAND_BY: string = `
stand_by() {
  looks=${2 * LIMITS.killRounds}
  while [ -e "$1/ending" ] && [ "$looks" -gt 0 ]; do nap 20; looks=$((looks - 1)); done
}
`;

/** The claim, the spools, the watcher: what comes before the command. */
const SUPERVISION = `
# pid, start time and boot name one process for good: a pid alone comes back.
start=- boot=-
identify() {
  { read -r stat </proc/$$/stat && read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null &&
    set -- \${stat##*) } && start=\${20}
}
identify
once go "$$ $start $boot $timeout ." || exit 0

# Keeps the disk from filling: a spool is cut to its head and its tail. Its length goes on to be what was printed, because
# the command writes at its own offset; what was cut is a hole. The command notices nothing.
trim() {
  pos=0
  if [ -e /proc/self/fdinfo ]; then read -r _ pos </proc/self/fdinfo/$1; else pos=$(wc -c <"$call/$2"); fi
  [ $((pos / ${BLOCK})) -gt $(($3 + ${4 * TAIL_BLOCKS})) ] || return
  kept=$((pos / ${BLOCK} - ${TAIL_BLOCKS}))
  fallocate -p -o ${SPOOL_HEAD_BYTES} -l $(((kept - ${HEAD_BLOCKS}) * ${BLOCK})) "$call/$2" && return
  # Without a fallocate that punches holes: what is printed between two of these lines may be lost.
  dd if="$call/$2" of="$call/$2.tail" bs=${BLOCK} skip=$kept
  dd if=/dev/null of="$call/$2" bs=${BLOCK} seek=${HEAD_BLOCKS}
  dd if="$call/$2.tail" of="$call/$2" bs=${BLOCK} seek=$kept conv=notrunc
  rm -f "$call/$2.tail"
}
kept1=${HEAD_BLOCKS} kept2=${HEAD_BLOCKS}
trim_both() {
  kept=$kept1; trim 3 stdout $kept1; kept1=$kept
  kept=$kept2; trim 4 stderr $kept2; kept2=$kept
}
# Everything that was printed is in the spools before the record is there. The reason of a stop is a moment younger than its
# file; should its writer have died in between, it was a kill.
why=
end() {
  trim_both
  if [ -e "$call/stop" ]; then
    looks=20
    until read -r why <"$call/stop" || [ "$looks" -eq 0 ]; do looks=$((looks - 1)); nap 5; done
    set -- "\${why:-killed} 0"
  fi
  once exit "$1 ."
}

# A zombie counts as gone: not every first process of a container reaps.
orphaned() {
  kill -0 $$ || return 0
  [ -e /proc/$$/stat ] && read -r stat </proc/$$/stat && set -- \${stat##*) } && [ "$1" = Z ]
}
# The watcher cannot start a process any more, and its shell ends of that: the command, whose doing it is, ends with it, for
# nobody else would hold it to its time, or could look after it.
no_room() {
  [ ! -e "$call/exit" ] || return
  once stop killed
  echo "perdure: no more processes could be started here; the command was ended with all that it had started" >&4
  end killed
  kill -KILL 0
}
# The watcher: the timeout and the size of the spools. It holds when the worker is dead, so it is a process of its own.
watch() {
  trap '[ ! -e "$call/exit" ] || { kill "$nap"; exit 0; }' TERM
  left=$timeout pace=125
  while [ "$left" -gt 0 ]; do
    [ "$pace" -lt "$left" ] || pace=$left
    trap no_room EXIT
    nap "$pace"
    trap - EXIT
    [ ! -e "$call/exit" ] || exit 0
    # The parent was killed, so nobody will see the command's end. A command that nobody watches is not left alone.
    orphaned && { [ -e "$call/exit" ] && exit 0; kill -KILL 0; }
    left=$((left - pace))
    [ "$pace" -ge 500 ] || pace=$((pace * 2))
    trim_both
  done
  once stop timed_out
  kill -TERM 0
  left=${LIMITS.killGraceMs}
  while [ ! -e "$call/exit" ] && [ "$left" -gt 0 ]; do nap 50; left=$((left - 50)); done
  end timed_out
  kill -KILL 0
}

# The spools are 3 and 4 here, so that no word of the shell itself ("Terminated") gets into the command's output.
exec 3>"$call/stdout" 4>"$call/stderr" >/dev/null 2>&1 </dev/null
# A kill that came before the claim. One that comes after it finds our pid in the claim.
[ ! -e "$call/stop" ] || { end killed; exit 0; }
cd -- "$dir" || { end "exited 126"; exit 0; }
# The signals of the group reach us too, and we stay to write the record. A handler, unlike '', is not inherited.
trap : HUP INT QUIT TERM USR1 USR2 ALRM PIPE
`;

/** A function of sh: becomes a program with the variables of `secretVariables`, in names that no secret has: after it nothing but the arguments is used. */
export const BECOME: string = `
become() {
  for perdure_name in \${PERDURE_SECRETS-}; do
    eval "perdure_value=\\$PERDURE_SECRET_$perdure_name"
    unset "PERDURE_SECRET_$perdure_name"
    export "$perdure_name=$perdure_value"
  done
  unset PERDURE_SECRETS perdure_name perdure_value
  exec "$@"
}
`;

const PLAIN_COMMAND = `
shell=bash
command -v bash >/dev/null 2>&1 || shell=sh
# By its path, as the command's own PATH may lead elsewhere. Only with variables of its own, for it costs two processes.
[ $# -eq 0 ] || set -- "$(command -v env)" "$@"
[ "$#\${PERDURE_SECRETS-}" = 0 ] || shell=$(command -v "$shell")
export PERDURE_CALL=\${call##*/}
${BECOME}# Whoever starts a call puts its input there first, so the winner finds it.
[ ! -e "$call/input" ] || exec <"$call/input"
watch &
watcher=$!
# In the foreground: a shell starts what it puts behind an & with INT and QUIT ignored.
# In a subshell that becomes the command, since a shell says "Killed" where the redirections of its own command lead.
if [ -n "$command" ]; then
  (exec >&3 2>&4 3>&- 4>&-; become "$@" "$shell" -c "$command")
else
  (exec >&3 2>&4 3>&- 4>&-; become "$@" "$shell" "$call/command")
fi
end "exited $?"
# After a timeout the watcher stays to end what the command left behind.
[ "$why" = timed_out ] || kill -TERM "$watcher"
exit 0
`;

const CONFINED_COMMAND = `
${STAND_BY}
# Our group is told to end; the command's is another one. Until it has begun there is nobody who could handle TERM.
forward() {
  tries=50
  while [ "$tries" -gt 0 ] && kill -0 "$child"; do
    init= outer= inner= first=
    read -r init _ </proc/$child/task/$child/children
    [ -z "$init" ] || read -r outer _ </proc/$init/task/$init/children
    [ -z "$outer" ] || read -r inner _ </proc/$outer/task/$outer/children
    [ -z "$inner" ] || read -r first _ </proc/$inner/task/$inner/children
    [ -z "$first" ] || { kill -TERM "-$inner"; return; }
    tries=$((tries - 1))
    nap 20
  done
}
export PERDURE_CALL=\${call##*/}
watch &
watcher=$!
stand_by "$call/../.."
[ ! -e "$call/stop" ] || { end killed; kill -TERM "$watcher"; exit 0; }
# What was ended while no command was there to be told of it.
[ ! -e "$call/../../notice" ] || ! mv "$call/../../notice" "$call/notice" || cat "$call/notice" >&4
# What keeps the namespaces is deaf to signals other than KILL; the command itself is given its ears back inside.
(
  trap '' HUP INT QUIT TERM
  if [ -e "$call/input" ]; then exec <"$call/input"; else exec </dev/null; fi
  IFS='
'
  for file in $joins; do
    { echo 0 >"$file"; } && continue
    echo "perdure: the command could not be put under its limits" >&4
    exit 126
  done
  unset IFS
  exec 5<"$profile" 6<"\${profile%/*}/filter"
  # In blocks of 512 bytes. What it prints counts as well, for that is a file.
  ulimit -f $((disk * 2))
  # Whatever descriptors whoever started the worker left open: not each sh can close one of two digits.
  left_open=
  for fd in /proc/self/fd/*; do
    fd=\${fd##*/}
    case $fd in [0-6]) ;; *) [ ! -e "/proc/self/fd/$fd" ] || left_open="$left_open $fd" ;; esac
  done
  [ -z "$left_open" ] ||
    set -- bash -c 'for fd in $1; do eval "exec $fd>&-"; done; shift; exec "$@"' perdure "$left_open" "$@"
  exec "$@" >&3 2>&4 3>&- 4>&-
) &
child=$!
trap forward TERM
code=
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" || break
done
end "exited $code"
[ "$why" = timed_out ] || kill -TERM "$watcher"
exit 0
`;

/**
 * `sh -c START_SCRIPT perdure <call folder> <working folder> <timeout in ms> <command> [NAME=value …]`, detached, any number
 * of times. The variables are the command's alone. So are secrets, which no argument may hold, for anybody can read those:
 * their names are in the variable PERDURE_SECRETS, and the value of each in PERDURE_SECRET_<name>.
 * The winner of the claim becomes the command's parent; its standard output is closed as soon as the claim is decided.
 * An empty command means: the one in the file `command` of the call folder (an argument has at most 128 KiB).
 */
export const START_SCRIPT: string = `${ONCE_AND_NAP}
call=$1 dir=$2 timeout=$3 command=$4
shift 4
${SUPERVISION}${PLAIN_COMMAND}`;

/**
 * `sh -c CONFINED_START_SCRIPT perdure <call folder> <workspace> <timeout in ms> <file for 5> <cgroup files> <KiB of disk>
 * <program> [argument …]`: as above, but for a command that runs in namespaces of its own, in which the program puts it. The
 * program finds the file open at 5, and the filter beside it at 6. It joins the cgroups whose files are named, one in a line, and none of its files may grow
 * beyond the disk's bound; see watch.ts for all of them together. The command must not be in our process group, where it
 * could signal us: it is in that of the inner init, three generations below the program, which is told of a TERM.
 */
export const CONFINED_START_SCRIPT: string = `${ONCE_AND_NAP}
call=$1 dir=$2 timeout=$3 profile=$4 joins=$5 disk=$6
shift 6
${SUPERVISION}${CONFINED_COMMAND}`;

/** `sh -c KILL_SCRIPT perdure <call folder>`: ends the command's process group, or prevents a start that is on its way. */
export const KILL_SCRIPT: string = `${ONCE_AND_NAP}
call=$1
once stop killed
# Whoever wins the claim decides: when it is us, no command will ever run under this call id.
if once go "- - - 0 ."; then once exit "killed 0 ."; exit 0; fi
left=${LIMITS.killGraceMs}
last=
while [ "$last" != . ] && [ "$left" -gt 0 ]; do
  read -r pid start boot _ last <"$call/go"
  [ "$last" = . ] || { nap 20; left=$((left - 20)); }
done
case $pid in '' | *[!0-9]*) exit 0 ;; esac

exec 2>/dev/null
# Whether the group is the command's: its leader is the process of the claim, or, when that is gone, a member bears the mark
# of the call or holds its spools. The number alone says nothing: once all have ended it may be a stranger's.
ours() {
  if [ "$start" = - ]; then
    [ -e /proc/self/stat ] || case $(ps -ww -o command= -p "$pid") in *"$call"*) return 0 ;; esac
    return 1
  fi
  read -r boot_now </proc/sys/kernel/random/boot_id && [ "$boot_now" = "$boot" ] || return 1
  if { read -r stat </proc/$pid/stat && set -- \${stat##*) }; }; then
    [ "\${20}" = "$start" ]
    return
  fi
  for file in /proc/[0-9]*/stat; do
    read -r stat <"$file" && set -- \${stat##*) } && [ "$3" = "$pid" ] && [ "$1" != Z ] || continue
    for fd in "\${file%stat}"fd/*; do
      if [ "$fd" -ef "$call/stdout" ] || [ "$fd" -ef "$call/stderr" ]; then return 0; fi
    done
    ! tr '\\0' '\\n' <"\${file%stat}environ" | grep -qx "PERDURE_CALL=\${call##*/}" || return 0
  done
  return 1
}
ours || exit 0

living() {
  kill -0 "-$pid" || return 1
  [ -e /proc/self/stat ] || return 0
  for file in /proc/[0-9]*/stat; do
    read -r stat <"$file" && set -- \${stat##*) } && [ "$3" = "$pid" ] && [ "$1" != Z ] && return 0
  done
  return 1
}
wait_gone() {
  left=${LIMITS.killGraceMs}
  while living && [ "$left" -gt 0 ]; do nap 40; left=$((left - 50)); done
}
kill -TERM "-$pid" || exit 0
wait_gone
# One that was told to end before it could set its traps has left no record, but it was us who ended it.
living || { once exit "killed 0 ."; exit 0; }
once exit "killed 0 ."
ours || exit 0
kill -KILL "-$pid"
wait_gone
exit 0
`;
