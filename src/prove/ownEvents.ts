import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJson, reasonOf, UsageError } from '../base/index.ts'
import type { Config } from '../define/index.ts'

/** A webhook of the user's own, to be played in place of what the stand-in would make happen. */
export interface OwnEvent {
  /** `'stripe my-payment.json'` */
  readonly name: string
  readonly connection: string
  readonly type: string
  /** As the provider sends it. It is signed when it is played. */
  readonly body: Buffer
}

/**
 * Reads `<connection>/*.json` below a folder: bodies of webhooks as providers send them, one delivery a file. Files of
 * a trigger take the place of what the stand-in would make happen for it.
 */
export async function readOwnEvents(
  folder: string | undefined,
  config: Config,
): Promise<readonly OwnEvent[]> {
  if (folder === undefined) return []
  const events: OwnEvent[] = []
  for (const connection of await list(folder)) {
    const connector = config.connections[connection]?.connector
    if (!connector?.webhooks)
      throw new UsageError(
        'events_unknown',
        `${join(folder, connection)}: there is no connection "${connection}" that takes webhooks. Name the folder as the connection.`,
      )
    for (const name of await list(join(folder, connection))) {
      if (!name.endsWith('.json')) continue
      const file = join(folder, connection, name)
      const body = await readFile(file)
      let types: readonly string[]
      try {
        types = connector.webhooks
          .events({ body: parseJson(body), headers: {}, settings: {} })
          .map(({ type }) => type)
      } catch (error) {
        throw new UsageError(
          'events_invalid',
          `${file} is no webhook of ${connector.title}: ${reasonOf(error)}`,
        )
      }
      events.push({ name: `${connection} ${name}`, connection, type: types[0] ?? '', body })
    }
  }
  return events
}

async function list(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    throw new UsageError('events_missing', `${folder} cannot be read: ${reasonOf(error)}`)
  }
}
