import { Cluster, Redis } from 'ioredis'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Owner } from './server.ts'

const run = promisify(execFile)

export interface ClientOptions {
  enableAutoPipelining?: boolean
  keyPrefix?: string
}

/** A redis-server of its own, on a port of 127.0.0.1, in a temporary folder. It ends with the test. */
export class RedisServer {
  readonly port: number
  readonly #folder: string
  readonly #args: readonly string[]
  #process: ChildProcess | undefined

  constructor(port: number, folder: string, args: readonly string[]) {
    this.port = port
    this.#folder = folder
    this.#args = args
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const server = spawn('redis-server', [...this.#args, '--port', String(this.port)], {
      cwd: this.#folder,
      stdio: 'ignore',
    })
    this.#process = server
    let failure: Error | undefined
    server.on('error', (error) => {
      failure = new Error(`redis-server cannot be run (on Debian: sudo apt-get install redis): ${error.message}`)
    })
    server.on('exit', (code) => {
      failure ??= new Error(`redis-server ended with ${code} on port ${this.port}`)
    })
    while (!(await isUp(this.port))) {
      if (failure) throw failure
      await pause(5)
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name)
  }

  /** Ends it at once, as a crash does. */
  async kill(): Promise<void> {
    const server = this.#process
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    await new Promise<void>((resolve) => {
      server.once('exit', () => resolve())
      server.kill('SIGKILL')
    })
  }
}

async function isUp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const answer = (up: boolean): void => {
      socket.destroy()
      resolve(up)
    }
    socket.on('error', () => answer(false))
    socket.on('data', () => answer(true))
    socket.write('PING\r\n')
  })
}

/** Ports of their own, below those of outgoing connections, with room for a cluster's bus, which is 10,000 above. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if (!ports.includes(port) && (await isFree(port)) && (await isFree(port + 10_000))) ports.push(port)
  }
  return ports
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.on('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/** Servers with these arguments each, up, in folders of their own. */
async function servers(t: Owner, each: readonly (readonly string[])[], ports?: number[]): Promise<RedisServer[]> {
  const free = ports ?? (await freePorts(each.length))
  return Promise.all(
    each.map(async (args, i) => {
      const folder = await mkdtemp(join(tmpdir(), 'luggage-rack-redis-'))
      const server = new RedisServer(free[i] as number, folder, [...ON_LOOPBACK, ...args])
      t.teardown(async () => {
        await server.kill()
        await rm(folder, { recursive: true, force: true })
      })
      await server.start()
      return server
    }),
  )
}

const ON_LOOPBACK = ['--bind', '127.0.0.1', '--save', '']

/** One Redis. */
export async function startRedis(t: Owner, ...args: string[]): Promise<RedisServer> {
  const [server] = await servers(t, [args])
  return server as RedisServer
}

/** A client that ends with the test. */
export function clientOf(t: Owner, { port }: RedisServer, options: ClientOptions = {}): Redis {
  const client = new Redis({ port, host: '127.0.0.1', ...options })
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  return client
}

export interface RedisCluster {
  /** Three masters, and then a replica of each. */
  servers: RedisServer[]
  client: (options?: ClientOptions) => Cluster
}

/** A cluster of three masters and three replicas. */
export async function startCluster(t: Owner): Promise<RedisCluster> {
  const args = '--cluster-enabled yes --cluster-node-timeout 1000 --cluster-replica-validity-factor 0'.split(' ')
  const nodes = await servers(
    t,
    Array.from({ length: 6 }, () => [...args, '--repl-diskless-sync-delay', '0']),
  )
  const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`)
  await run('redis-cli', ['--cluster', 'create', ...hosts, '--cluster-replicas', '1', '--cluster-yes'])
  // every node must know that all is well, and every replica have its master's data
  for (const { port } of nodes) {
    while (!/cluster_state:ok/.test(await ask(port, 'cluster', 'info'))) await pause(20)
    while (/master_link_status:down/.test(await ask(port, 'info', 'replication'))) await pause(20)
  }
  return {
    servers: nodes,
    client: (options) => {
      const client = new Cluster(
        nodes.map(({ port }) => ({ host: '127.0.0.1', port })),
        {
          clusterRetryStrategy: () => 100,
          retryDelayOnFailover: 200,
          retryDelayOnClusterDown: 200,
          maxRedirections: 100,
          ...options,
        },
      )
      client.on('error', () => {})
      t.teardown(() => client.disconnect())
      return client
    },
  }
}

export interface RedisSentinel {
  /** The master, and two replicas. */
  servers: RedisServer[]
  client: (options?: ClientOptions) => Redis
}

/** A master, two replicas, and three sentinels that watch them. */
export async function startSentinel(t: Owner): Promise<RedisSentinel> {
  const ports = await freePorts(3)
  const replica = ['--replicaof', '127.0.0.1', String(ports[0]), '--repl-diskless-sync-delay', '0']
  const redis = await servers(t, [[], replica, replica], ports)
  for (const { port } of redis.slice(1)) {
    while (/master_link_status:down/.test(await ask(port, 'info', 'replication'))) await pause(20)
  }
  // they would find each other in some seconds; what they would write down is written down for them
  const ids = (await freePorts(3)).map((port) => ({ port, id: String(port).padStart(40, '0') }))
  const sentinels = await Promise.all(
    ids.map(async ({ port, id }) => {
      const folder = await mkdtemp(join(tmpdir(), 'luggage-rack-sentinel-'))
      const lines = [
        `sentinel myid ${id}`,
        `sentinel monitor main 127.0.0.1 ${ports[0]} 2`,
        'sentinel down-after-milliseconds main 500',
        'sentinel failover-timeout main 3000',
        ...ports.slice(1).map((replicaPort) => `sentinel known-replica main 127.0.0.1 ${replicaPort}`),
        ...ids
          .filter((each) => each.id !== id)
          .map((each) => `sentinel known-sentinel main 127.0.0.1 ${each.port} ${each.id}`),
      ]
      await writeFile(join(folder, 'sentinel.conf'), `bind 127.0.0.1\n${lines.join('\n')}\n`)
      const sentinel = new RedisServer(port, folder, ['sentinel.conf', '--sentinel'])
      t.teardown(async () => {
        await sentinel.kill()
        await rm(folder, { recursive: true, force: true })
      })
      await sentinel.start()
      return sentinel
    }),
  )
  for (const { port } of sentinels) {
    while (!/slaves=2,sentinels=3/.test(await ask(port, 'info', 'sentinel'))) await pause(20)
  }
  return {
    servers: redis,
    client: (options) => {
      const client = new Redis({
        name: 'main',
        sentinels: sentinels.map(({ port }) => ({ host: '127.0.0.1', port })),
        maxRetriesPerRequest: 50,
        sentinelRetryStrategy: () => 100,
        failoverDetector: true,
        ...options,
      })
      client.on('error', () => {})
      t.teardown(() => client.disconnect())
      return client
    },
  }
}

async function ask(port: number, ...command: string[]): Promise<string> {
  const { stdout } = await run('redis-cli', ['-p', String(port), ...command])
  return stdout
}

/** The keys of a pattern, on all masters. */
export async function keysOf(client: Redis | Cluster, pattern = '*'): Promise<string[]> {
  const masters = client instanceof Cluster ? client.nodes('master') : [client]
  return (await Promise.all(masters.map((master) => master.keys(pattern)))).flat()
}

/** Everything that a Redis holds, as text: keys, fields, members and values. */
export async function dump(client: Redis | Cluster, pattern = '*'): Promise<string> {
  const lines = (await keysOf(client, pattern)).map(async (key) => {
    const isHash = (await client.type(key)) === 'hash'
    const value = isHash ? await client.hgetall(key) : await client.zrange(key, '0', '-1', 'WITHSCORES')
    return `${key} ${JSON.stringify(value)}`
  })
  return (await Promise.all(lines)).join('\n')
}
