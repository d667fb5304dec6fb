import session from 'express-session'
import { serveOn } from './express-session-options.js'

await serveOn(new session.MemoryStore())
