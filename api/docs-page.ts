/** The API's page for people, rendered from its OpenAPI document: no script, no style sheet or font from elsewhere. */
import { PROBLEMS } from "../contract/errors.ts";
import type { OpenApiDocument } from "./openapi.ts";

const STYLE = `
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow: auto; padding: .75rem; border: 1px solid #8885; border-radius: 6px; }
section { border-top: 1px solid #8885; padding: .5rem 0; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; text-transform: uppercase; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .15rem .75rem .15rem 0; }
`;

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly description?: string;
}

interface Described {
  readonly operationId?: string;
  readonly summary?: string;
  readonly description?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: unknown }>> };
  readonly responses?: Readonly<
    Record<
      string,
      { readonly description?: string; readonly content?: Readonly<Record<string, { readonly schema?: unknown }>> }
    >
  >;
}

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly described: Described;
}

export function renderDocs(document: OpenApiDocument): string {
  const operations = Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item as Record<string, Described>).map(([method, described]) => ({ method, path, described })),
  );
  const schemas = Object.entries(document.components?.schemas ?? {}).map(
    ([name, schema]) =>
      `<section id="schema-${html(name)}"><h3><code>${html(name)}</code></h3><details><summary>JSON schema</summary><pre>${html(JSON.stringify(schema, null, 2))}</pre></details></section>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${html(document.info.title)} API</title><style>${STYLE}</style></head>
<body><h1>${html(document.info.title)} API</h1><p>${prose(document.info.description)}</p><p><a href="/openapi.json">OpenAPI ${html(document.openapi)} document</a></p>
<p><a href="#operations">Operations</a> · <a href="#problems">Problems</a> · <a href="#schemas">Schemas</a></p>
<table>${operations.map(indexRow).join("")}</table>
<h2 id="operations">Operations</h2>${operations.map(operationHtml).join("\n")}
<h2 id="problems">Problems</h2>${problemsHtml()}
<h2 id="schemas">Schemas</h2>${schemas.join("\n")}
</body></html>
`;
}

function indexRow({ method, path, described }: Operation): string {
  const link = `<a href="#${html(described.operationId ?? "")}"><code>${html(path)}</code></a>`;
  return `<tr><td><span class="method">${html(method)}</span></td><td>${link}</td><td>${html(described.summary ?? "")}</td></tr>`;
}

function operationHtml({ method, path, described }: Operation): string {
  const parameters = (described.parameters ?? []).map(
    (one) =>
      `<tr><td><code>${html(one.name)}</code></td><td>${html(one.in)}${one.required ? ", required" : ""}</td><td>${prose(one.description)}</td></tr>`,
  );
  const answers = Object.entries(described.responses ?? {}).map(
    ([status, one]) =>
      `<tr><td>${html(status)}</td><td>${typesHtml(one.content)}</td><td>${prose(one.description)}</td></tr>`,
  );
  return `<section id="${html(described.operationId ?? "")}"><h3><span class="method">${html(method)}</span> <code>${html(path)}</code></h3><p><strong>${html(described.summary ?? "")}</strong> ${prose(described.description)}</p>
${parameters.length > 0 ? `<table><tr><th>Parameter</th><th></th><th></th></tr>${parameters.join("")}</table>` : ""}
${described.requestBody ? `<p>Body: ${typesHtml(described.requestBody.content)}</p>` : ""}
<table><tr><th>Answer</th><th></th><th></th></tr>${answers.join("")}</table></section>`;
}

function typesHtml(content: Readonly<Record<string, { readonly schema?: unknown }>> | undefined): string {
  return Object.entries(content ?? {})
    .map(([type, { schema }]) => {
      const name = /"\$ref":"#\/components\/schemas\/(\w+)"/.exec(JSON.stringify(schema ?? {}))?.[1];
      return `<code>${html(type)}</code>${name === undefined ? "" : ` <a href="#schema-${html(name)}">${html(name)}</a>`}`;
    })
    .join("<br>");
}

function problemsHtml(): string {
  const rows = Object.entries(PROBLEMS).map(
    ([code, { status, title, retryable }]) =>
      `<tr id="${html(code)}"><td><code>${html(code)}</code></td><td>${status}</td><td>${html(title)}${retryable ? ", try again" : ""}</td></tr>`,
  );
  return `<table><tr><th>Code</th><th>Status</th><th></th></tr>${rows.join("")}</table>`;
}

/** Text with its `code` marked. */
function prose(text: string | undefined): string {
  return html(text ?? "").replaceAll(/`([^`]+)`/g, "<code>$1</code>");
}

function html(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
