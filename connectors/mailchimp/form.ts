/**
 * The fields of a form whose names are written as PHP does, `data[merges][FNAME]`: what stands under `data`, nested, with
 * `fired_at` beside it. What is no such form is given back as it is, for the contract to refuse.
 */
export function unpacked(form: unknown): unknown {
  if (form === null || typeof form !== 'object' || Array.isArray(form)) return form
  const fields = nested(Object.entries(form).map(([name, value]) => [partsOf(name), value] as const))
  const { data } = fields
  if (data === null || typeof data !== 'object' || Array.isArray(data)) return fields
  return 'fired_at' in fields ? { ...data, fired_at: fields['fired_at'] } : data
}

/** `data[merges][FNAME]` is `data`, `merges`, `FNAME`; a name that is written otherwise stays whole. */
function partsOf(name: string): readonly string[] {
  const [, first = name, rest = ''] = /^([^[\]]+)((?:\[[^[\]]*\])*)$/.exec(name) ?? []
  return [first, ...[...rest.matchAll(/\[([^[\]]*)\]/g)].map(([, part = '']) => part)]
}

type Field = readonly [parts: readonly string[], value: unknown]

/** Lists (`[0]`) stay objects. `fromEntries` makes own properties only, whatever they are called. */
function nested(fields: readonly Field[]): Readonly<Record<string, unknown>> {
  const byFirst = new Map<string, Field[]>()
  for (const [[first = '', ...rest], value] of fields)
    byFirst.set(first, [...(byFirst.get(first) ?? []), [rest, value]])
  return Object.fromEntries(
    [...byFirst].map(([name, inner]) => {
      const alone = inner.find(([rest]) => rest.length === 0)
      return [name, alone === undefined ? nested(inner) : alone[1]]
    }),
  )
}
