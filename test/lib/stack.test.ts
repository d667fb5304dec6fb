import { createReadStream } from 'node:fs'
import { test } from 'tap'
import { AbstractStore, cookies, session, type App, type StoredSession } from '../../lib/index.ts'
import { ask, serve } from '../server.ts'
import { SECRET } from '../session-app.ts'

class SlowStore extends AbstractStore {
  override findSession(): StoredSession | undefined {
    return undefined
  }

  override async writeSession(): Promise<boolean> {
    // as long as it takes a stream to find that its file is missing
    await new Promise((resolve) => createReadStream('/missing').on('error', resolve))
    await new Promise((resolve) => setImmediate(resolve))
    return true
  }

  override deleteSession(): void {}
}

test('a stream that fails while the session is saved is a 500, also in a stack composed by hand', async (t) => {
  const layer = session<{ a: number }>({ store: new SlowStore() })
  const app: App = cookies({ secret: SECRET })(
    layer(async (req) => {
      ;(await req.session).a = 1
      return [200, {}, createReadStream('/missing')]
    }),
  )
  const { port, errors } = await serve(t, app)
  t.equal((await ask(port, '/')).status, 500)
  t.match(errors, [{ code: 'ENOENT' }])
})
