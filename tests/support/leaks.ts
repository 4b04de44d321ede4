import type { Pool } from 'pg'

/** Every column of every row of every table, and every row as PostgreSQL prints it. */
export async function dumpOf(pool: Pick<Pool, 'query'>): Promise<Buffer> {
  const tables = await pool.query<{ name: string }>(
    `select quote_ident(table_schema) || '.' || quote_ident(table_name) as name from information_schema.tables
     where table_schema not in ('pg_catalog', 'information_schema') and table_type = 'BASE TABLE'`,
  )
  const parts: Buffer[] = []
  for (const { name } of tables.rows) {
    const { rows } = await pool.query<Record<string, unknown>>(
      `select t.*, t::text as printed from ${name} t`,
    )
    for (const row of rows)
      for (const value of Object.values(row))
        parts.push(
          Buffer.isBuffer(value)
            ? value
            : Buffer.from(typeof value === 'string' ? value : (JSON.stringify(value) ?? '')),
          Buffer.from('\n'),
        )
  }
  return Buffer.concat(parts)
}

/** The ways in which a secret could stand somewhere. Base64 in each of its three phases, without the ends that depend on neighbours. */
export function formsOf(secret: string): Buffer[] {
  const bytes = Buffer.from(secret)
  const phases = [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replace(/=+$/, '')
      .slice(shift + 1, -2),
  )
  const texts = [
    secret,
    encodeURIComponent(secret),
    new URLSearchParams({ x: secret }).toString().slice(2),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    ...phases,
    ...phases.map((phase) => phase.replaceAll('+', '-').replaceAll('/', '_')),
  ]
  return texts.map((text) => Buffer.from(text))
}

/** The secrets that stand there, in any form. */
export function leaksIn(where: Buffer, secrets: readonly string[]): string[] {
  return secrets.filter((secret) => formsOf(secret).some((form) => where.includes(form)))
}
