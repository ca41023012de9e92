/** Checks answers against the OpenAPI document that the API serves: status, content type and body. */
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

export interface Answered {
  readonly method: string;
  readonly target: string;
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
  readonly bytes: Uint8Array;
}

interface Described {
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: object }>> }>
  >;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Described>>>>;
}

const ROOT = "openapi";

export class OpenApiCheck {
  readonly #document: Document;
  readonly #ajv: Ajv2020;
  readonly #compiled = new Map<string, ValidateFunction>();

  private constructor(document: Document) {
    this.#document = document;
    // Not strict: an OpenAPI document is more than a schema, and `format` is not what is checked here.
    this.#ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
    this.#ajv.addSchema(document, ROOT);
  }

  static async load(url: string): Promise<OpenApiCheck> {
    const response = await fetch(`${url}/openapi.json`);
    return new OpenApiCheck((await response.json()) as Document);
  }

  /** Throws when the document does not promise this answer. */
  verify(answer: Answered): void {
    const found = this.#find(answer.target);
    const type = answer.headers.get("content-type")?.split(";")[0] ?? "";
    if (!found) {
      if (answer.status !== 404)
        throw new Error(`${answer.target} is not in the document, but was answered with ${answer.status}`);
      return;
    }
    const { path, item } = found;
    const method = answer.method.toLowerCase() === "head" ? "get" : answer.method.toLowerCase();
    const described = item[method];
    const where = `${answer.method} ${path} ${answer.status}`;
    if (!described) {
      if (answer.status !== 405) throw new Error(`${where}: the document does not have this method`);
      return;
    }
    const promised = described.responses[String(answer.status)];
    if (!promised) throw new Error(`${where}: the document does not have this status`);
    const types = Object.keys(promised.content ?? {});
    if (types.length === 0) {
      if (answer.bytes.length > 0) throw new Error(`${where}: the document has no body here`);
      return;
    }
    const match = types.includes(type) ? type : types.includes("*/*") ? "*/*" : undefined;
    if (match === undefined) throw new Error(`${where}: ${type} came, the document has ${types.join(", ")}`);
    if (answer.method === "HEAD" || !promised.content?.[match]?.schema || !type.endsWith("json")) return;
    this.#validate({ path, method, status: String(answer.status), type: match }, answer.body);
  }

  #find(target: string): { path: string; item: Readonly<Record<string, Described>> } | undefined {
    const plain = target.split("?")[0] ?? "";
    for (const [path, item] of Object.entries(this.#document.paths)) {
      const isRest = path.endsWith("/files/{path}");
      const pattern = path.replace(/\/\{path\}$/, "(?:/.*)?").replaceAll(/\{\w+\}/g, "[^/]+");
      if (new RegExp(`^${isRest ? pattern : path.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(plain)) return { path, item };
    }
    return undefined;
  }

  #validate(at: { path: string; method: string; status: string; type: string }, body: unknown): void {
    const pointer = ["paths", at.path, at.method, "responses", at.status, "content", at.type, "schema"]
      .map(escaped)
      .join("/");
    const ref = `${ROOT}#/${pointer}`;
    const validate = this.#compiled.get(ref) ?? this.#ajv.compile({ $ref: ref });
    this.#compiled.set(ref, validate);
    if (validate(body)) return;
    throw new Error(
      `${at.method} ${at.path} ${at.status}: ${this.#ajv.errorsText(validate.errors)}\n${JSON.stringify(body).slice(0, 2_000)}`,
    );
  }
}

function escaped(part: string): string {
  return encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"));
}
