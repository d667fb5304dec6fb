import { MemcachedStore } from '../../build/stores/memcached-store.js'
import { serveOn } from './luggage-rack.js'
import { settings } from './serve.js'

await serveOn(new MemcachedStore({ servers: settings().memcached ?? '127.0.0.1:11211' }))
