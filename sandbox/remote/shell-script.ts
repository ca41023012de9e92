/**
 * What runs inside a remote sandbox for each connection: a POSIX sh that waits for requests and answers them one by one.
 *
 * A request is two lines on its standard input, a random name and a line of sh; the answer is what that line prints, then
 * the name and the line's status. Standard input is kept as descriptor 3, so that no program reads what is not its own.
 * Only builtins where they do: each other program costs a millisecond.
 */
import { KILL_SCRIPT, SPOOL_HEAD_BYTES, SPOOL_TAIL_BYTES, START_SCRIPT } from "../supervisor.ts";
import { shellWord } from "./shell-word.ts";

/** Statuses of the functions below, which `request-errors.ts` puts into words. */
export const STATUS = {
  lost: 20,
  leadsOut: 21,
  notFolderOnTheWay: 22,
  missing: 23,
  isFolder: 24,
  notRegular: 25,
  notFolder: 26,
  refused: 27,
  noSpace: 28,
  tooLarge: 29,
  lacks: 30,
  cancelled: 31,
  unclaimed: 32,
  noCall: 33,
} as const;

/** Bytes of each stream that one poll of a command brings. */
export const POLL_BYTES: number = 2 * 1024 * 1024;

const RESOLVE = `
# The real path that the absolute path $1 names goes to $real, whether something is there or not: what is missing is put
# behind the real path of what exists, and a symlink to nowhere is followed to where a write would go.
resolve() {
  cd -P "$root" && [ "$PWD" = "$root" ] || { cd /; return ${STATUS.lost}; }
  at=$1 rest= links=0 real=
  while [ -z "$real" ]; do
    name=\${at##*/} parent=\${at%/*}
    case $name in
      '' | .) if [ -n "$parent" ]; then at=$parent; else real=/; fi; continue ;;
      ..) if cd -P "$at"; then real=$PWD$rest; continue; else return ${STATUS.leadsOut}; fi ;;
    esac
    if cd -P "\${parent:-/}"; then
      parent=\${PWD%/}
      if [ -L "$parent/$name" ]; then
        links=$((links + 1))
        [ $links -le 40 ] || return ${STATUS.leadsOut}
        link_target "$parent/$name" || return ${STATUS.lacks}
        case $target in /*) at=$target ;; *) at=$parent/$target ;; esac
      else
        [ -z "$rest" ] || [ -d "$parent/$name" ] || [ ! -e "$parent/$name" ] || return ${STATUS.notFolderOnTheWay}
        real=$parent/$name$rest
      fi
    elif [ -d "$parent" ]; then return ${STATUS.refused}
    elif [ -e "$parent" ]; then return ${STATUS.notFolderOnTheWay}
    else rest=/$name$rest at=$parent
    fi
  done
  case $real in "$root" | "$root"/*) return 0 ;; esac
  return ${STATUS.leadsOut}
}
link_target() {
  target=$(readlink "$1" && echo .) || { has readlink; return; }
  target=\${target%.} target=\${target%"$nl"}
}
# Says which program is missing.
has() {
  for program; do command -v "$program" >/dev/null || { printf %s "$program"; return ${STATUS.lacks}; }; done
}
`;

const BYTES = `
# Whether this dd counts in bytes and reads whole blocks from a pipe; looked at once.
dd_is_able() {
  [ -n "$able" ] || { dd if=/dev/null of=/dev/null iflag=skip_bytes,count_bytes,fullblock count=0; able=$?; }
  return "$able"
}
# $3 bytes of the file $1 from $2 on.
slice() {
  if dd_is_able; then dd if="$1" bs=262144 iflag=skip_bytes,count_bytes,fullblock skip="$2" count="$3"
  else tail -c "+$(($2 + 1))" <"$1" | head -c "$3"; fi
}
# Exactly $1 bytes of what comes in.
take() {
  if dd_is_able; then dd bs="$1" count=1 iflag=fullblock <&3; else dd bs=1 count="$1" <&3; fi
}
# A failure with bytes on their way: nobody could tell them from the next request.
die() { printf '\\n%s %s\\n' "$nonce" "$1"; exit 1; }
# What comes in, as blocks with their length before them and 0 at the end.
take_blocks() {
  while IFS= read -r length <&3; do
    case $length in
      0) return 0 ;;
      '' | *[!0-9]*) return ${STATUS.cancelled} ;;
      *) take "$length" || return ${STATUS.noSpace} ;;
    esac
  done
  return ${STATUS.cancelled}
}
# A long line of sh, by file.
run_long() {
  mkdir -p "$state/tmp"
  long=$state/tmp/.line-$nonce
  take_blocks >"$long" || { rm -f "$long"; die ${STATUS.noSpace}; }
  . "$long"
  set -- $?
  rm -f "$long"
  return $1
}
`;

const FILES = `
stat_file() {
  resolve "$1" || return
  [ -e "$real" ] || return ${STATUS.missing}
  stat -c '%f %s %Y|%y' "$real" || { has stat && return ${STATUS.missing}; }
}
# $2: from where; $3: how much, or - for all; $4: how much at most, or -. Prints the size and how much follows.
read_file() {
  resolve "$1" && read_real "$real" "$2" "$3" "$4"
}
read_spool() {
  cd -P "$root" && [ "$PWD" = "$root" ] || { cd /; return ${STATUS.lost}; }
  cd -P "\${1%/*}" || return ${STATUS.missing}
  [ "$PWD" = "\${1%/*}" ] && [ ! -L "$1" ] || return ${STATUS.leadsOut}
  read_real "$@"
}
read_real() {
  [ ! -d "$1" ] || return ${STATUS.isFolder}
  [ -e "$1" ] || return ${STATUS.missing}
  [ -f "$1" ] || return ${STATUS.notRegular}
  [ -r "$1" ] || return ${STATUS.refused}
  size=$(stat -c %s "$1") || { has stat; return ${STATUS.lacks}; }
  left=$((size - $2)) want=$3
  [ "$left" -ge 0 ] || left=0
  { [ "$want" != - ] && [ "$want" -le "$left" ]; } || want=$left
  echo "$size $want"
  [ "$4" = - ] || [ "$want" -le "$4" ] || return ${STATUS.tooLarge}
  [ "$want" -eq 0 ] || slice "$1" "$2" "$want"
  return 0
}
# Replaces $1 by what comes in, by way of a file under the name $2.
write_file() {
  resolve "$1" || die $?
  [ "$real" != "$root" ] && [ ! -d "$real" ] || die ${STATUS.isFolder}
  mode=
  if [ -e "$real" ]; then
    [ -f "$real" ] || die ${STATUS.refused}
    mode=$(stat -c %a "$real") || mode=
  fi
  { [ -d "\${real%/*}" ] && [ -d "$state/tmp" ]; } || mkdir -p "\${real%/*}" "$state/tmp" || die ${STATUS.refused}
  new=$state/tmp/.$2
  { : >"$new"; } || die ${STATUS.noSpace}
  take_blocks >"$new" || { set -- $?; rm -f "$new"; die $1; }
  [ -z "$mode" ] || chmod "$mode" "$new"
  mv -f "$new" "$real" || { rm -f "$new"; return ${STATUS.refused}; }
}
is_there() { [ -e "$1" ] || [ -L "$1" ]; }
remove_file() {
  [ "$1" != "$root" ] || return ${STATUS.refused}
  resolve "\${1%/*}" || return
  doomed=$real/\${1##*/}
  is_there "$doomed" || return ${STATUS.missing}
  rm -rf "$doomed"
  is_there "$doomed" || return 0
  chmod -R u+rwX "$doomed"
  rm -rf "$doomed"
  is_there "$doomed" || return 0
  return ${STATUS.refused}
}
`;

const FIND = `
find_is_able() {
  [ -n "$finds" ] || { find / -maxdepth 0 -printf ''; finds=$?; }
  return "$finds"
}
# All below $1 to the depth $2 but what is in the folders that the other arguments match. No path holds //, so ".//" is where
# one begins; a find that prints what it is told says all at once, others need a stat, and a readlink for each symlink.
find_below() {
  resolve "$1" || return
  [ -d "$real" ] || { [ -e "$real" ] && return ${STATUS.notFolder}; return ${STATUS.missing}; }
  cd -P "$real" || return ${STATUS.refused}
  depth=$2 top=.
  shift 2
  find_is_able || { has find stat readlink || return; top=./; }
  for pattern; do set -- "$@" -o -path "$top/$pattern"; shift; done
  [ $# -eq 0 ] || { shift; set -- '(' "$@" ')' -prune -o; }
  if [ "$top" = . ]; then
    echo printf
    find . -mindepth 1 -maxdepth "$depth" "$@" -printf '%y %m %s %T@ %C@ %i %P\\0%l\\0'
  else
    echo stat
    find .// -maxdepth "$depth" "$@" -exec stat -c '%f %s %Y|%y|%Z|%z|%i %n' {} +
    printf '\\n%s\\n' "$nonce-links"
    find .// -maxdepth "$depth" "$@" -type l -exec sh -c 'name=$0
      for file; do printf "%s%s%s" "$name" "$file" "$name"; readlink "$file"; done' "$nonce" {} +
  fi
  return 0
}
`;

const ARCHIVE = `
# Before entries of a tar are laid: kind (d, f) and path in turns. What stands in the way goes; no parent may lead out.
make_way() {
  has tar || return
  last=
  while [ $# -gt 1 ]; do
    above=\${2%/*}
    if [ "$above" != "$last" ]; then
      resolve "$above" || return
      [ "$real" = "$above" ] || return ${STATUS.leadsOut}
      mkdir -p "$real" || return ${STATUS.refused}
      last=$above
    fi
    if [ -L "$2" ]; then rm -f "$2"
    elif [ "$1" = d ]; then [ ! -e "$2" ] || [ -d "$2" ] || rm -f "$2"
    elif [ -d "$2" ]; then rm -rf "$2"
    fi
    shift 2
  done
}
lay_tar() {
  cd -P "$root" || return ${STATUS.lost}
  mkdir -p "$state/tmp"
  { take_blocks; echo $? >"$state/tmp/.$nonce"; } | tar -xpof -
  laid=$? taken=
  read -r taken <"$state/tmp/.$nonce"
  rm -f "$state/tmp/.$nonce"
  [ "$taken" = 0 ] || die "\${taken:-${STATUS.noSpace}}"
  [ "$laid" = 0 ] || return ${STATUS.noSpace}
}
tar_files() {
  has tar || return
  resolve "$root" && cd -P "$root" || return
  [ -n "$tars" ] || { tar --hard-dereference --no-recursion -cf /dev/null -T /dev/null; tars=$?; }
  if [ "$tars" = 0 ]; then tar --hard-dereference --no-recursion -cf - -- "$@"; else tar -cf - -- "$@"; fi
  return 0
}
`;

const COMMANDS = `
claimed() { [ -f "$call/go" ] && read -r pid start boot limit last <"$call/go" && [ "$last" = . ]; }
# $1 call, $2 working folder, $3 timeout, $4 command, then variables. A command that is no argument goes by file, and so
# does what it reads: \`give_input\` has put it there.
start_call() {
  call=$state/calls/$1
  ! claimed || return 0
  resolve "$2" || return
  [ -d "$real" ] || { [ -e "$real" ] && return ${STATUS.notFolder}; return ${STATUS.missing}; }
  has setsid env || return
  mkdir -p "$call" || return ${STATUS.noSpace}
  timeout=$3 command=$4
  shift 4
  if [ -z "$command" ] || [ \${#command} -gt 30000 ]; then
    printf %s "$command" >"$call/.command-$nonce" && mv -f "$call/.command-$nonce" "$call/command" || return ${STATUS.noSpace}
    command=
  fi
  # Twice: the second is the leader of a group and so goes on as its own child, for which nobody here waits.
  claim=$(cd / && setsid setsid sh -c "$START" perdure "$call" "$real" "$timeout" "$command" "$@" 3<&-)
  # Whoever loses a race is told before the winner's claim has its last word: that is a matter of microseconds, or of a busy machine.
  looks=0
  until claimed; do
    [ "$looks" -lt 100 ] && [ -f "$call/go" ] || return ${STATUS.unclaimed}
    looks=$((looks + 1))
    sleep 0.02 || sleep 1
  done
}
give_input() {
  call=$state/calls/$1
  cd -P "$root" || die ${STATUS.lost}
  mkdir -p "$call" && { : >"$call/.input-$nonce"; } || die ${STATUS.noSpace}
  take_blocks >"$call/.input-$nonce" || die ${STATUS.noSpace}
  mv -f "$call/.input-$nonce" "$call/input" || return ${STATUS.noSpace}
}
kill_call() {
  cd -P "$root" || { cd /; return ${STATUS.lost}; }
  mkdir -p "$state/calls/$1" || return ${STATUS.noSpace}
  cd /
  sh -c "$KILL" perdure "$state/calls/$1" >/dev/null
}
is_watched() {
  [ "$start" != - ] || { kill -0 "$pid"; return; }
  read -r boot_now </proc/sys/kernel/random/boot_id && [ "$boot_now" = "$boot" ] && read -r line <"/proc/$pid/stat" || return
  set -- \${line##*) }
  [ "$1" != Z ] && [ "\${20}" = "$start" ]
}
has_group() {
  kill -0 "-$pid" || return
  [ "$start" != - ] || return 0
  read -r boot_now </proc/sys/kernel/random/boot_id && [ "$boot_now" = "$boot" ] || return
  if read -r line <"/proc/$pid/stat"; then set -- \${line##*) }; [ "\${20}" = "$start" ] || return; fi
  for file in /proc/[0-9]*/stat; do
    read -r line <"$file" && set -- \${line##*) } && [ "$3" = "$pid" ] && [ "$1" != Z ] && return 0
  done
  return 1
}
spool_size() { if [ -f "$1" ] && [ ! -L "$1" ]; then stat -c %s "$1" || echo 0; else echo 0; fi; }
# Where the next bytes of a spool of $1 bytes begin that was read up to $2, and how many.
next_bytes() {
  from=$2 until=$1
  if [ "$until" -gt ${SPOOL_HEAD_BYTES} ]; then
    if [ -n "$ended" ] && [ "$from" -ge ${SPOOL_HEAD_BYTES} ]; then
      [ "$from" -ge $((until - ${SPOOL_TAIL_BYTES})) ] || from=$((until - ${SPOOL_TAIL_BYTES}))
    else until=${SPOOL_HEAD_BYTES}; fi
  fi
  count=$((until - from))
  [ "$count" -ge 0 ] || count=0
  [ "$count" -le ${POLL_BYTES} ] || count=${POLL_BYTES}
}
look() {
  [ -d "$call" ] || return 1
  ended=
  [ ! -f "$call/exit" ] || ended=1
  sizes=
  [ ! -f "$call/stderr" ] || [ -L "$call/stdout" ] || [ -L "$call/stderr" ] || sizes=$(stat -c %s "$call/stdout" "$call/stderr")
  set -- $sizes "$@"
  [ $# -eq 4 ] || set -- "$(spool_size "$call/stdout")" "$(spool_size "$call/stderr")" "$out" "$err"
  out_size=$1 err_size=$2
  next_bytes "$out_size" "$out"; out_from=$from out_count=$count
  next_bytes "$err_size" "$err"; err_from=$from err_count=$count
}
# What the call $1 printed beyond $2 and $3, as soon as there is something, its end, or $4 ms are over; looks at the pace of
# $5 ms at first, and slower and slower.
poll_call() {
  call=$state/calls/$1 out=$2 err=$3 pace=$5 waited=0 watched=-
  cd -P "$root" || { cd /; return ${STATUS.lost}; }
  cd /
  while look "$out" "$err" || return ${STATUS.noCall}; do
    [ -z "$ended" ] && [ "$out_count" -eq 0 ] && [ "$err_count" -eq 0 ] && [ "$waited" -lt "$4" ] || break
    if [ "$pace" = 200 ]; then
      # What it printed and recorded after the look and before its parent ended would be missing.
      if claimed; then is_watched || { watched=0; look "$out" "$err" || return ${STATUS.noCall}; break; }; fi
    fi
    digits=$((1000 + pace))
    sleep "0.\${digits#1}" || sleep 1
    waited=$((waited + pace)) pace=$((pace * 2))
    [ "$pace" -le 200 ] || pace=200
  done
  claim=- group=-
  ! claimed || claim="$pid $limit"
  if [ "$watched" = 0 ]; then group=0; case $pid in '' | *[!0-9]*) ;; *) ! has_group || group=1 ;; esac; fi
  echo "$out_size $err_size $out_from $err_from $watched $group $claim"
  if [ -n "$ended" ] || [ "$watched" = 0 ]; then
    [ -n "$ended" ] && echo || date +%s
    stat -c '%s %Y|%y' "$call/go" "$call/exit"
    line=
    [ ! -f "$call/exit" ] || read -r line <"$call/exit"
    echo "end \${line:-}"
  fi
  printf '%s\\n' "$nonce-out"
  [ "$out_count" -eq 0 ] || slice "$call/stdout" "$out_from" "$out_count"
  printf '\\n%s\\n' "$nonce-err"
  [ "$err_count" -eq 0 ] || slice "$call/stderr" "$err_from" "$err_count"
  return 0
}
`;

/** `sh -c <this> perdure`, with the folders of the sandbox. */
export function shellScript(folders: { readonly workspace: string; readonly state: string }): string {
  return `
exec 3<&0 </dev/null 2>/dev/null
umask 022
root=${shellWord(folders.workspace)} state=${shellWord(folders.state)}
nl='
' able= finds= tars= nonce= START=${shellWord(START_SCRIPT)} KILL=${shellWord(KILL_SCRIPT)}
${RESOLVE}${BYTES}${FILES}${FIND}${ARCHIVE}${COMMANDS}
while IFS= read -r nonce <&3 && IFS= read -r request <&3; do
  eval "$request"
  printf '\\n%s %s\\n' "$nonce" $?
done
`;
}
