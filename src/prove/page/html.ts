/** Text within HTML, escaped. */
export function text(value: string): string {
  return value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

/** HTML that is not escaped again. Values are escaped, unless they are HTML themselves or lists of it. */
export function html(
  parts: TemplateStringsArray,
  ...values: readonly (string | number | Html | readonly Html[])[]
): Html {
  let made = parts[0]!
  for (const [i, value] of values.entries()) {
    if (value instanceof Html) made += value.markup
    else if (typeof value === 'string') made += text(value)
    else if (typeof value === 'number') made += String(value)
    else made += value.map(({ markup }) => markup).join('')
    made += parts[i + 1]!
  }
  return new Html(made)
}

/** A piece of a page. */
export class Html {
  readonly markup: string
  constructor(markup: string) {
    this.markup = markup
  }
}
