/**
 * How a provider wants its requests authorized. Static: which secrets a connection needs and where they go.
 * The secrets themselves are sealed in the vault, by the field names given here.
 */
export type AuthScheme =
  /** `Authorization: Bearer <token>`; secret field `token`. */
  | { readonly kind: 'bearer' }
  /** One header; secret field `apiKey`. `prefix` stands before the key (default: nothing). */
  | { readonly kind: 'api_key'; readonly header: string; readonly prefix?: string }
  /**
   * RFC 7617; secret fields `username` and `password`. With `keyAs: 'username'` the one secret field is `apiKey`, which
   * is sent as the user's name with an empty password (EasyPost), and is kept secret as a password is.
   */
  | { readonly kind: 'basic'; readonly keyAs?: 'username' }
  /** Every request is signed by Standard Webhooks; secret field `signingSecret` (`whsec_…`). The idempotency key is the `webhook-id`. */
  | { readonly kind: 'standard_webhooks' }
  /** AUTH of SMTP (RFC 4954), after TLS; secret fields `username` and `password`. */
  | { readonly kind: 'smtp_login' }
  | OAuth2Scheme
  /** The provider needs no authorization. */
  | { readonly kind: 'none' }

/**
 * OAuth 2.0 (RFC 6749). Secret fields: `clientId`, `clientSecret`, and the grant (`accessToken`, `refreshToken`,
 * `expiresAt`), which the vault keeps fresh.
 */
export interface OAuth2Scheme {
  readonly kind: 'oauth2'
  /** Absolute, or a path below the connection's base URL. */
  readonly tokenUrl: string
  /**
   * How a grant comes about. `authorization_code` (default): a person agrees in a browser (RFC 6749, 4.1, with PKCE).
   * `client_credentials`: the client's own id and secret are enough (RFC 6749, 4.4); there is no refresh token.
   */
  readonly grant?: 'authorization_code' | 'client_credentials'
  /** Where a person agrees. Absolute, or a path below the connection's base URL. */
  readonly authorizeUrl?: string
  /** What the authorization request carries beside the standard's parameters. Default: nothing. */
  readonly authorizeParameters?: Readonly<Record<string, string>>
  /**
   * Who answers in the callback's `iss` (RFC 9207), where the provider sends it: it must be there and be this. Left
   * out, an `iss` that comes all the same must have the origin of one of the provider's endpoints.
   */
  readonly issuer?: string
  /** Where a grant is taken back (RFC 7009). Absolute, or a path below the base URL. Left out: the provider has none. */
  readonly revocationUrl?: string
  /** What an authorization says about the account that it opens. Default: nothing. */
  readonly account?: readonly AccountFact[]
  readonly scopes: readonly string[]
  /** How the client shows who it is at the token endpoint: HTTP basic, or in the form body. */
  readonly clientAuth: 'basic' | 'post'
  /** Seconds before expiry at which the token is refreshed ahead of use. Default 120. */
  readonly refreshAheadSeconds?: number
  /** A grant that was not refreshed for so many days ends at the provider. Trestle refreshes it before, as long as it runs. */
  readonly unusedGrantEnds?: { readonly afterDays: number; readonly source: string }
  /** Where the provider's token endpoint differs from the standard. Default: nowhere. */
  readonly quirks?: OAuth2Quirks
  /**
   * Schemes that a connection may use instead, such as the token of a HubSpot private app. {@link authFor} chooses
   * by the secrets that the connection has.
   */
  readonly alternatives?: readonly AuthScheme[]
}

/**
 * How a provider's OAuth differs from RFC 6749, as a table: nothing in it is code. Refresh tokens that are good once
 * need no entry, since every refresh is treated as if they were.
 */
export interface OAuth2Quirks {
  /** The answer has no `token_type`, or another word for it: its access token is a bearer token all the same. */
  readonly tokenTypeMissing?: boolean
  /** Where answers say what went wrong, if not in `error`: such as `status` for HubSpot. */
  readonly errorField?: string
  /** An answer with status 200 may be an error: it is one wherever the error's field holds a text. */
  readonly errorsIn200?: boolean
  /** Error codes, beside `invalid_grant`, that say that the grant is over. */
  readonly grantIsOver?: readonly string[]
  /**
   * When the access token ends, if `expires_in` does not say it in seconds. `at`: the field holds a moment, as seconds
   * or milliseconds since 1970 or as an ISO 8601 date. `assumed`: the provider says nothing, and its documentation does.
   */
  readonly expiry?:
    | { readonly kind: 'seconds'; readonly field: string }
    | { readonly kind: 'at'; readonly field: string; readonly as: 'seconds' | 'milliseconds' | 'date' }
    | { readonly kind: 'assumed'; readonly seconds: number }
  /** The provider has no refresh tokens: access tokens are good until they are taken back (Mailchimp). */
  readonly noRefreshToken?: boolean
  /** Seconds that the refresh token lives, such as Intuit's `x_refresh_token_expires_in`. */
  readonly refreshTokenLifetimeField?: string
}

/**
 * What an authorization says about the account, as a table: where it stands, and what it is to the connection. A
 * connection keeps the account of its first authorization; a later one for another account is refused.
 */
export interface AccountFact {
  /** Where the provider does not say it, the authorization is good all the same. Default false. */
  readonly optional?: boolean
  readonly from:
    /** A parameter of the callback, such as QuickBooks' `realmId`. */
    | { readonly kind: 'callback'; readonly parameter: string }
    /** A field of the token endpoint's answer, such as Salesforce's `instance_url`. */
    | { readonly kind: 'token_answer'; readonly field: string }
    /** A field of what one GET with the new token answers, such as Mailchimp's `dc`. */
    | { readonly kind: 'request'; readonly url: string; readonly scheme?: string; readonly field: string }
    /** One of a list that a GET with the new token answers, such as Xero's tenants: of several, a person chooses. */
    | {
        readonly kind: 'choice'
        readonly url: string
        readonly id: string
        readonly name: string
        /** Only the entries whose field has this value. */
        readonly only?: { readonly field: string; readonly is: string }
      }
  readonly to:
    /** A setting of the connection, where operations find it. */
    | { readonly kind: 'setting'; readonly name: string }
    /**
     * The connection's base URL, unless it has one of its own. `{}` in `template` (default: `{}` alone) stands for the
     * fact. What comes of it must be https and lie on or below one of `hosts`.
     */
    | { readonly kind: 'base_url'; readonly template?: string; readonly hosts: readonly string[] }
}

/** The settings that a connection learns from its authorization. */
export function learnedSettingsOf(auth: AuthScheme): readonly string[] {
  return schemesOf(auth).flatMap((scheme) =>
    scheme.kind === 'oauth2'
      ? (scheme.account ?? []).flatMap(({ to }) => (to.kind === 'setting' ? [to.name] : []))
      : [],
  )
}

/** Whether a person agrees in a browser. */
export function isAuthorizedByPerson(auth: AuthScheme): auth is OAuth2Scheme {
  return auth.kind === 'oauth2' && auth.grant !== 'client_credentials'
}

/** The secret field that comes of a person's authorization; `undefined` where none is needed. */
export function grantFieldOf(auth: OAuth2Scheme): 'refreshToken' | 'accessToken' | undefined {
  if (auth.grant === 'client_credentials') return undefined
  return auth.quirks?.noRefreshToken === true ? 'accessToken' : 'refreshToken'
}

/** Names of the secret fields that a connection with this scheme must have. */
export function secretFieldsOf(auth: AuthScheme): readonly string[] {
  switch (auth.kind) {
    case 'bearer':
      return ['token']
    case 'api_key':
      return ['apiKey']
    case 'basic':
      return auth.keyAs === 'username' ? ['apiKey'] : ['username', 'password']
    case 'smtp_login':
      return ['username', 'password']
    case 'standard_webhooks':
      return ['signingSecret']
    case 'oauth2':
      return ['clientId', 'clientSecret', grantFieldOf(auth)].filter((field) => field !== undefined)
    case 'none':
      return []
  }
}

/** The connector's own scheme, and those that a connection may use instead. */
export function schemesOf(auth: AuthScheme): readonly AuthScheme[] {
  return auth.kind === 'oauth2' ? [auth, ...(auth.alternatives ?? [])] : [auth]
}

/** The schemes all of whose secret fields are there; the connector's own before its alternatives. */
export function completeSchemes(auth: AuthScheme, fields: Iterable<string>): readonly AuthScheme[] {
  const held = new Set(fields)
  return schemesOf(auth).filter((scheme) => secretFieldsOf(scheme).every((field) => held.has(field)))
}

/**
 * The scheme that a connection uses: the first, of the connector's own and its alternatives, all of whose secret
 * fields the connection has. Where none fits: the connector's own, so that what is missing is named after it.
 */
export function authFor(auth: AuthScheme, fields: Iterable<string>): AuthScheme {
  return completeSchemes(auth, fields)[0] ?? auth
}
