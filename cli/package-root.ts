/** Where this package lies, and how its programs are run: from source by Node itself, or from what `npm run build` made. */
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(import.meta.url);
/** `.ts` in the repository, `.js` in a release. */
const EXTENSION = path.extname(HERE);
/** The folder that holds cli/, workers/, api/: the package itself, or its dist/. */
const CODE = path.dirname(path.dirname(HERE));
const PACKAGE = EXTENSION === ".ts" ? CODE : path.dirname(CODE);

/** A file of the package that is not compiled, such as `scripts/get-temporal.mjs`. */
export function packagePath(relative: string): string {
  return path.join(PACKAGE, relative);
}

/** Node's arguments to run one of our programs, such as `workers/main`. */
export function programArguments(program: string): readonly string[] {
  const file = path.join(CODE, program + EXTENSION);
  return EXTENSION === ".ts" ? [file] : ["--enable-source-maps", file];
}
