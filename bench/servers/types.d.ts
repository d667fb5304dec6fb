declare module 'better-sqlite3-session-store' {
  import type { Database } from 'better-sqlite3'
  import type session from 'express-session'

  const storeOf: (module: typeof session) => new (options: { client: Database }) => session.Store
  export default storeOf
}
