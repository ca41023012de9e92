/** Programs that fill a disk one piece after another: slowly enough to be seen, and beyond the bound by far if nobody looks. They end with `filled`. */

export interface Filling {
  /** Goes on from "fills more than its bound". */
  readonly name: string;
  readonly program: string;
}

/** Pieces of 2 MB each; the pause between two of them, in seconds, is what a watcher has to see them in. */
export interface Pieces {
  readonly count: number;
  readonly pause: number;
}

export const python = (program: string): string => `exec python3 - <<'PYTHON'\n${program.trim()}\nPYTHON`;

/** In plain sh, for any image; `folder` ends with a slash. */
export function fillFiles({ count, pause }: Pieces, folder = ""): string {
  return `i=0; while [ $i -lt ${count} ]; do head -c 2000000 /dev/zero >${folder}f$i; i=$((i+1)); sleep ${pause}; done; echo filled`;
}

/** The ways that every kind of sandbox has to see. */
export function fillings(pieces: Pieces): readonly Filling[] {
  const { count, pause } = pieces;
  return [
    { name: "in files, one after another", program: fillFiles(pieces) },
    {
      name: "in a file that is open and has no name",
      program: python(`
import os, time
files = []
for i in range(${count}):
    files.append(os.open("f", os.O_RDWR | os.O_CREAT)); os.unlink("f")
    os.write(files[-1], b"x" * 2000000); time.sleep(${pause})
print("filled")`),
    },
    {
      name: "in many small files",
      program: python(`
import os, time
for i in range(120000):
    os.close(os.open("s%d" % i, os.O_CREAT))
    if i % 500 == 0: time.sleep(${pause / 2})
print("filled")`),
    },
  ];
}
