// Who is compared: each a server in servers/, used as its own README says, in its fastest documented setting that still
// does the same work. What it costs is with the framework that it runs in, its `host`.

/**
 * - `format`: what the browser holds: `sealed`, the data, encrypted; `signed`, the data, which everybody may read;
 *   `store`, an id, and the data on the server.
 * - `inCookie`: whether what a page changes is sent to the browser: where the cookie holds the data, and where the id is
 *   sent once more.
 * - `resealsOnRead`: whether a page that only reads sends the cookie, too.
 * - `host`: the lightest framework that its package documents or that it plugs into.
 * - `packages`: those whose versions say what was measured. Of Rails: `rails`, `puma`, `ruby`, which are not npm's.
 * - `needs`: programs that have to run or be there.
 * - `production`: whether NODE_ENV says so. Ours sends a session over plain http outside of production alone.
 *
 * @typedef {{
 *   name: string, file: string, title: string, host: string, packages: readonly string[], format: Format,
 *   inCookie: boolean, resealsOnRead: boolean, ours: boolean, rows: readonly Row[], needs: readonly Need[], production: boolean,
 *   note: string,
 * }} Peer
 */
/** @typedef {'sealed' | 'signed' | 'store'} Format */
/** @typedef {'untouched' | 'read' | 'written'} Row */
/** @typedef {'redis' | 'memcached' | 'ruby'} Need */
/**
 * @typedef {Pick<Peer, 'title' | 'host' | 'packages' | 'format'> & {
 *   inCookie?: boolean, resealsOnRead?: boolean, needs?: readonly Need[], production?: boolean, note?: string
 * }} Entry
 */

/** Node's http module and nothing else, which sends what it is told to: what all the others are compared with. */
export const bare = { name: 'bare', file: 'servers/bare.js', title: 'bare node:http', production: false }

/** @type {Record<string, Entry>} */
const own = {
  cookie: {
    title: 'luggage-rack, cookie',
    host: 'node:http',
    packages: ['luggage-rack'],
    format: 'sealed',
    note: 'AES-256-GCM, as Rails',
  },
  memory: { title: 'luggage-rack, memory', host: 'node:http', packages: ['luggage-rack'], format: 'store' },
  redis: {
    title: 'luggage-rack, Redis',
    host: 'node:http',
    packages: ['luggage-rack', 'ioredis'],
    format: 'store',
    needs: ['redis'],
  },
  memcached: {
    title: 'luggage-rack, memcached',
    host: 'node:http',
    packages: ['luggage-rack', 'memjs'],
    format: 'store',
    needs: ['memcached'],
  },
  sqlite: {
    title: 'luggage-rack, SQLite',
    host: 'node:http',
    packages: ['luggage-rack', 'better-sqlite3'],
    format: 'store',
  },
}

/** @type {Record<string, Entry>} */
const others = {
  'iron-session': {
    title: 'iron-session',
    host: 'node:http',
    packages: ['iron-session'],
    format: 'sealed',
    note: 'AES-256-CBC and an HMAC, keys derived for each cookie. Mounts nothing: a page that does not ask for the session does no work. Version 8, since 9 wants Node 22',
  },
  'fastify-secure-session': {
    title: '@fastify/secure-session',
    host: 'Fastify',
    packages: ['@fastify/secure-session', 'fastify'],
    format: 'sealed',
    note: 'libsodium secretbox; opens the cookie for every page',
  },
  h3: {
    title: 'h3 useSession',
    host: 'h3',
    packages: ['h3'],
    format: 'sealed',
    note: 'AES-256-CBC and an HMAC, keys derived for each cookie in 8,192 rounds, the default. Mounts nothing',
  },
  'h3-one-round': {
    title: 'h3 useSession, 1 round',
    host: 'h3',
    packages: ['h3'],
    format: 'sealed',
    note: 'its option `seal` with 1 round of key derivation, as iron-session: for a password that is random',
  },
  hono: {
    title: '@hono/session',
    host: 'Hono on @hono/node-server',
    packages: ['@hono/session', 'hono', '@hono/node-server'],
    format: 'sealed',
    note: 'JWE, AES-256-GCM; opens the cookie when a page asks',
  },
  rails: {
    title: 'Rails, cookie store',
    host: 'Puma, 1 worker',
    packages: ['rails', 'puma', 'ruby'],
    format: 'sealed',
    needs: ['ruby'],
    resealsOnRead: true,
    note: 'AES-256-GCM; seals the session anew and sends it wherever it was read, changed or not. ActionController::API in production, with YJIT where Ruby has it, without the middleware that a session does not need',
  },
  'cookie-session': {
    title: 'cookie-session',
    host: 'connect',
    packages: ['cookie-session', 'connect'],
    format: 'signed',
    note: 'two cookies, the data and its HMAC; has no expiry of its own',
  },
  'koa-session': {
    title: 'koa-session',
    host: 'Koa',
    packages: ['koa-session', 'koa'],
    format: 'signed',
    note: 'two cookies, the data and its HMAC',
  },
  'express-session': {
    title: 'express-session, memory',
    host: 'connect',
    packages: ['express-session', 'connect'],
    format: 'store',
    // its store would warn that it is not for production, which makes no other difference
    production: false,
    note: 'its MemoryStore; writes a session anew that is only read, and never ends one',
  },
  'express-session-redis': {
    title: 'express-session, connect-redis',
    host: 'connect',
    packages: ['express-session', 'connect-redis', 'redis', 'connect'],
    format: 'store',
    needs: ['redis'],
    note: 'writes the expiry of a session that is only read. connect-redis 9, since 10 wants Node 22',
  },
  'express-session-redis-no-touch': {
    title: 'express-session, connect-redis, disableTouch',
    host: 'connect',
    packages: ['express-session', 'connect-redis', 'redis', 'connect'],
    format: 'store',
    needs: ['redis'],
    note: 'less work: who only reads is signed out a day after the last change',
  },
  'express-session-sqlite': {
    title: 'express-session, better-sqlite3-session-store',
    host: 'connect',
    packages: ['express-session', 'better-sqlite3-session-store', 'better-sqlite3', 'connect'],
    format: 'store',
    note: 'its database in WAL mode, as ours; writes the expiry of a session that is only read. better-sqlite3 12, since 13 wants Node 22',
  },
  'fastify-session': {
    title: '@fastify/session, memory',
    host: 'Fastify',
    packages: ['@fastify/session', '@fastify/cookie', 'fastify'],
    format: 'store',
    inCookie: true,
    note: 'keeps the object that the page works on, not a copy; never ends a session; sends the id again with each change',
  },
  'fastify-session-redis': {
    title: '@fastify/session, connect-redis',
    host: 'Fastify',
    packages: ['@fastify/session', 'connect-redis', 'redis', '@fastify/cookie', 'fastify'],
    format: 'store',
    needs: ['redis'],
    inCookie: true,
    note: 'leaves the expiry of a session that is only read as it is; sends the id again with each change',
  },
}

/** @type {readonly Row[]} */
const ROWS = ['untouched', 'read', 'written']

/** @param {Record<string, Entry>} entries @param {boolean} ours @returns {Peer[]} */
const peersOf = (entries, ours) =>
  Object.entries(entries).map(([name, entry]) => ({
    name,
    file: `servers/${name}.js`,
    inCookie: entry.format !== 'store',
    resealsOnRead: false,
    ours,
    rows: ROWS,
    needs: [],
    production: !ours,
    note: '',
    ...entry,
  }))

/** @type {readonly Peer[]} */
export const peers = [...peersOf(own, true), ...peersOf(others, false)]
