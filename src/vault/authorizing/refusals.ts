import { UsageError } from '../../base/index.ts'

/** Why a browser is turned away. Each says what to do; nothing was changed. */
const REFUSALS = {
  authorization_unknown:
    'This address belongs to no authorization that Trestle knows. Begin again: in the dashboard, or with trestle connections add NAME.',
  authorization_other_browser:
    'This authorization was begun in another browser, and goes on only there. Open it in that browser, or begin again: trestle connections add NAME.',
  authorization_used:
    'This authorization was used already. See how it ended with: trestle connections list. To authorize once more, begin again: trestle connections add NAME.',
  authorization_expired:
    'This authorization was not finished in time. Begin again: trestle connections add NAME.',
  callback_invalid:
    "The provider's answer is not one: it has no code, or says something twice. Begin again: trestle connections add NAME.",
  issuer_differs:
    'The answer comes from another authorization server than the one that was asked (RFC 9207). Nothing was done with it. If you did not expect this, tell who runs Trestle.',
} as const

export type RefusalCode = keyof typeof REFUSALS

export function refusal(code: RefusalCode): UsageError {
  return new UsageError(code, REFUSALS[code])
}
