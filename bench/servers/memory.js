import { MemoryStore } from '../../build/lib/index.js'
import { serveOn } from './luggage-rack.js'

// more than any crowd, so that none is put out
await serveOn(new MemoryStore({ max: 2_000_000 }))
