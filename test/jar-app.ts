import type { IncomingMessage } from 'node:http'
import { Builder, cookies, type App, type CookieJar, type CookiesOptions, type RackError } from '../lib/index.ts'
import { ask, serve, type Answer, type Ask, type Owner } from './server.ts'

export const SECRET = 'a secret of the tests, which is long enough and known to everybody'

export type Use = (jar: CookieJar, req: IncomingMessage) => unknown

/** An app that does something with the jar, and answers what came of it as JSON. */
export function jarApp(use: Use, options: CookiesOptions = {}): App {
  return new Builder()
    .use(cookies({ secret: SECRET, ...options }))
    .run((req) => [200, { 'content-type': 'application/json' }, JSON.stringify(use(req.cookies, req) ?? null)])
}

/** One request to such an app, over a socket. */
export async function useJar(
  t: Owner,
  use: Use,
  { cookie, ...asked }: Ask & { cookie?: string } = {},
  options: CookiesOptions = {},
): Promise<Answer & { result: unknown; errors: unknown[] }> {
  const { port, errors } = await serve(t, jarApp(use, options))
  const headers = { ...asked.headers, ...(cookie === undefined ? undefined : { cookie }) }
  const answer = await ask(port, '/', { ...asked, headers })
  return {
    ...answer,
    result: answer.status === 200 && answer.body !== '' ? JSON.parse(answer.body) : undefined,
    errors,
  }
}

/** What a call throws. */
export function thrown(call: () => unknown): { code: string; message: string } | undefined {
  try {
    call()
  } catch (error) {
    const { code, message } = error as RackError
    return { code, message }
  }
  return undefined
}
