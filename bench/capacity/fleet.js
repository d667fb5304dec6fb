// What a fleet needs, from what one request costs.

/** Seconds, bytes and shares, by the names of the assumptions. @typedef {Record<string, number>} Values */

/** Packets of Ethernet, IPv4 and TCP with timestamps carry as much beside. */
export const HEADERS = 14 + 20 + 32

/** Hash slots of a cluster. */
export const SLOTS = 16384

/**
 * The share of reads that extend the idle time: the first that comes once `every` is over.
 *
 * @param {number} visitRate @param {number} every
 */
export const refreshShare = (visitRate, every) => 1 / (1 + visitRate * every)

/** @param {Values} a */
export function mixOf(a) {
  const untouched = of(a, 'untouched') / 100
  const written = of(a, 'written') / 100
  const read = 1 - untouched - written
  const refreshed = read * refreshShare(of(a, 'visit-rate'), of(a, 'refresh-every'))
  return { untouched, written, read: read - refreshed, refreshed, session: read + written, writes: written + refreshed }
}

/** @param {Values} a @param {string} name */
export function of(a, name) {
  const value = a[name]
  if (value === undefined) throw new Error(`no ${name}`)
  return value
}

/** @param {number} rate requests a second @param {Values} a @param {number} [count] of masters; as many as needed */
export function fleetOf(rate, a, count) {
  const mix = mixOf(a)
  const zones = of(a, 'zones')
  /** Microseconds of Node a request. @param {string} untouched @param {string} read @param {string} written */
  const cpu = (untouched, read, written) =>
    of(a, 'app') +
    mix.untouched * of(a, untouched) +
    mix.read * of(a, read) +
    // to extend it costs at most what a change does
    mix.writes * of(a, written)
  /** Cores, so many that those of all zones but one are enough. @param {number} each µs */
  const cores = (each) => Math.ceil(((rate * each) / 1e6 / (of(a, 'core-use') / 100)) * (zones / (zones - 1)))
  const gbits = (/** @type {number} */ bytes) => (rate * bytes * 8) / 1e9

  const known = cpu('cookie-untouched', 'cookie-read', 'cookie-written')
  const unknown = cpu('cookie-untouched', 'cookie-read-unknown', 'cookie-written-unknown')
  const cookieCores = cores(unknown)
  const cookie = {
    cpu: unknown,
    cpuKnown: known,
    cores: cookieCores,
    coresKnown: cores(known),
    memory: cookieCores * of(a, 'cookie-rss') * 1e6,
    up: gbits(of(a, 'cookie-bytes')),
    down: gbits(mix.writes * of(a, 'set-cookie-bytes')),
    // half of the cache at least, and all of it at most, is younger than the oldest
    keptFor: of(a, 'cache') / of(a, 'cookie-bytes') / ((rate * mix.session) / cookieCores),
  }

  const redisCpu = cpu('redis-untouched', 'redis-read', 'redis-written')
  const redisCores = cores(redisCpu)
  const work =
    (rate *
      (mix.session * of(a, 'store-read') +
        mix.written * of(a, 'store-write') +
        mix.refreshed * of(a, 'store-refresh'))) /
    1e6
  const masters = count ?? Math.max(3, Math.ceil(work / (of(a, 'redis-use') / 100)))
  const visits = (rate * mix.session) / (of(a, 'visit-rate') * of(a, 'visit'))
  const held = visits * (of(a, 'visit') + of(a, 'expire-after'))
  const data = held * of(a, 'session-bytes')
  const visitors = visits * of(a, 'visit')
  const packets = 2 * (mix.session + mix.writes)
  const redis = {
    cpu: redisCpu,
    cores: redisCores,
    memory: redisCores * of(a, 'redis-rss') * 1e6,
    up: gbits(of(a, 'id-bytes')),
    // with `expireAfter` the cookie has a Max-Age, which is sent anew when the session is extended
    commands: rate * (mix.session + mix.writes),
    storeOut: gbits(mix.read * of(a, 'read-out') + mix.writes * of(a, 'written-out')),
    storeIn: gbits(mix.read * of(a, 'read-in') + mix.writes * of(a, 'written-in')),
    storeHeaders: gbits(packets * HEADERS),
    replication: gbits(mix.writes * of(a, 'replicated-bytes') * of(a, 'replicas')),
    work,
    masters,
    zones,
    use: work / masters,
    nodes: masters * (1 + of(a, 'replicas')),
    held,
    data,
    perMaster: data / masters,
    connections: redisCores,
    // slots do not divide evenly; and of visitors, each with a pace of his own, one master has more than another
    busiest: (Math.ceil(SLOTS / masters) * masters) / SLOTS + 3 * Math.sqrt((2 * masters) / visitors),
    failing: (rate * mix.session) / masters,
    failingZone: (rate * mix.session) / zones,
    underWay: ((rate * mix.session) / masters) * (of(a, 'deadline') / 1000),
    underWayZone: ((rate * mix.session) / zones) * (of(a, 'deadline') / 1000),
  }
  return { rate, cookie, redis, visitors }
}
