/** The parts of oidc-provider 9.13.3 that the tests use; the package has no types of its own. */
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  interface Grant {
    addOIDCScope(scope: string): void
    save(): Promise<string>
  }
  export default class Provider {
    constructor(issuer: string, configuration: object)
    callback(): (request: IncomingMessage, response: ServerResponse) => void
    readonly Grant: new (properties: { accountId: string; clientId: string }) => Grant
    readonly RefreshToken: new (properties: object) => { save(): Promise<string> }
    readonly AccessToken: { find(token: string): Promise<object | undefined> }
    readonly Client: { find(id: string): Promise<object | undefined> }
    on(event: string, listener: (...about: unknown[]) => void): this
  }
}
