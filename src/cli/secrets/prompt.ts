import { UsageError } from '../../base/index.ts'

/** A terminal to ask a person on. */
export interface Terminal {
  readonly input: NodeJS.ReadableStream & {
    readonly isTTY?: boolean
    setRawMode?(raw: boolean): unknown
  }
  readonly output: { write(text: string): unknown }
}

export const terminal: Terminal = { input: process.stdin, output: process.stderr }

export function canAsk({ input }: Terminal): boolean {
  return input.isTTY === true && input.setRawMode !== undefined
}

const ENTER = /[\r\n]/
const CTRL_C = '\u0003'
const CTRL_D = '\u0004'
const CTRL_U = '\u0015'
const BACKSPACE = new Set(['\u007f', '\b'])

/** Asks for one line and shows nothing of it. Ctrl-C throws `interrupted`. */
export function askHidden(question: string, { input, output }: Terminal): Promise<string> {
  output.write(`${question}: `)
  input.setRawMode?.(true)
  input.resume()
  return new Promise((resolve, reject) => {
    let text = ''
    const finish = (settle: () => void): void => {
      input.off('data', onData)
      input.setRawMode?.(false)
      input.pause()
      output.write('\n')
      settle()
    }
    const onData = (chunk: Buffer | string): void => {
      for (const key of chunk.toString()) {
        if (ENTER.test(key) || key === CTRL_D) return finish(() => resolve(text))
        if (key === CTRL_C)
          return finish(() => reject(new UsageError('interrupted', 'Interrupted: nothing was changed.')))
        if (key === CTRL_U) text = ''
        else if (BACKSPACE.has(key)) text = text.slice(0, -1)
        else if (key >= ' ') text += key
      }
    }
    input.on('data', onData)
  })
}
