import { CookieStore, ironSealer, rackSealer } from '../../build/lib/index.js'
import { serveOn } from './luggage-rack.js'
import { SECRET, settings } from './serve.js'

/** Other formats of the cookie, for `{ "sealer": "iron" }`. Default: Rails'. */
const sealers = {
  iron: () => ironSealer({ password: SECRET }),
  rack: () => rackSealer({ secret: SECRET }),
}

const { sealer } = /** @type {{ sealer?: keyof typeof sealers }} */ (settings())
await serveOn(new CookieStore(sealer && { sealer: sealers[sealer]() }))
