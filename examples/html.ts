/** HTML that is finished: what came from outside is escaped in it. */
export interface Html {
  readonly html: string
}

type Part = string | number | Html | readonly Html[]

/** Escapes all that is put into it, except HTML that is finished, so that nobody can forget to. */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  return { html: String.raw({ raw: strings }, ...parts.map(escape)) }
}

function escape(part: Part): string {
  if (typeof part !== 'object') return String(part).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
  return 'html' in part ? part.html : part.map(escape).join('')
}
