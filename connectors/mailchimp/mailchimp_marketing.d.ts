/** The part of @mailchimp/mailchimp_marketing 3.0.80 that official.test.ts uses; the package has no types. */
declare module '@mailchimp/mailchimp_marketing' {
  type Page = Readonly<Record<string, string | number | undefined>>

  interface Client {
    /** `https://server.api.mailchimp.com/3.0` at first. */
    basePath: string
    setConfig(config: { apiKey?: string; accessToken?: string; server?: string }): void
    ping: { get(): Promise<unknown> }
    lists: {
      getAllLists(page?: Page): Promise<unknown>
      getList(list: string): Promise<unknown>
      getListMergeFields(list: string, page?: Page): Promise<unknown>
      getListMembersInfo(list: string, page?: Page): Promise<unknown>
      getListMember(list: string, member: string): Promise<unknown>
      setListMember(list: string, member: string, fields: object, options?: object): Promise<unknown>
      updateListMember(list: string, member: string, fields: object): Promise<unknown>
      deleteListMember(list: string, member: string): Promise<unknown>
      deleteListMemberPermanent(list: string, member: string): Promise<unknown>
      getListMemberTags(list: string, member: string): Promise<unknown>
      updateListMemberTags(list: string, member: string, fields: object): Promise<unknown>
      getListMemberEvents(list: string, member: string): Promise<unknown>
      createListMemberEvent(list: string, member: string, fields: object): Promise<unknown>
    }
    campaigns: {
      list(page?: Page): Promise<unknown>
      get(campaign: string): Promise<unknown>
    }
  }

  const client: Client
  export default client
}
