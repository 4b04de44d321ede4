/**
 * Which names announce a secret: keys of JSON and forms, query parameters, headers. Names are compared without case
 * and punctuation, so `api_key`, `apiKey` and `X-Api-Key` are one.
 */
const PARTS =
  /password|passwd|passphrase|passcode|secret|authorization|apikey|accesskey|privatekey|signingkey|encryptionkey|masterkey|sharedkey|subscriptionkey|authkey|credential|cardnumber|accountnumber|routingnumber|securitycode|socialsecurity|codeverifier|clientassertion|token/
/** Names with `token` in them that are no secret: cursors, counts and facts about tokens. */
const HARMLESS_TOKEN =
  /^(next|prev|previous|start)?(page|sync|cursor|continuation)token$|token(type|count|limit|expir|endpoint|url|uri|ttl)|^(max|min|total|prompt|completion|input|output|used|num)\w*tokens$/
const WHOLE = new Set(
  'auth cookie cookies setcookie cookie2 csc cvc cvc2 cvv cvv2 iban jwt otp totp pan pass pin pwd sessionid ssn bearer samlresponse'.split(
    ' ',
  ),
)
/** In a URL these carry signatures of pre-signed links, API keys and codes of an authorization. */
const WHOLE_IN_QUERY = new Set(['key', 'sig', 'signature', 'code', 'hmac'])
const PARTS_IN_QUERY = /signature$|^xamzcredential$/

const PUNCTUATION = /[^a-z0-9]+/g

function bare(name: string): string {
  return name.toLowerCase().replace(PUNCTUATION, '')
}

/** Whether a key of JSON or of a form, or a header, announces a secret. `parent`: the key of the object around it. */
export function isSecretName(name: string, parent = ''): boolean {
  const plain = bare(name)
  if (WHOLE.has(plain)) return true
  if (PARTS.test(plain)) return !HARMLESS_TOKEN.test(plain)
  return plain === 'number' && bare(parent).includes('card')
}

/** Whether a query parameter announces a secret. */
export function isSecretParameter(name: string): boolean {
  const plain = bare(name)
  return WHOLE_IN_QUERY.has(plain) || PARTS_IN_QUERY.test(plain) || isSecretName(name)
}
