// luggage-rack on a MemoryStore that holds sessions from the beginning: `{ "filling": … }`, see fill.js.
import { MemoryStore } from '../../build/lib/index.js'
import { fill } from './fill.js'
import { serveOn } from '../servers/luggage-rack.js'
import { settings } from '../servers/serve.js'

const { filling } = /** @type {{ filling: import('./fill.js').Filling }} */ (/** @type {unknown} */ (settings()))
const store = new MemoryStore({ max: filling.sessions })
await fill(store, filling)
await serveOn(store)
