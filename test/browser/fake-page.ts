import { memoryStorage, type Page, type TokenStorage } from '../../browser/index.ts'

/** A JSON Web Token that nobody has signed. */
export function tokenOf(claims: unknown): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'RS256' })}.${part(claims)}.signature`
}

/** A page without a browser, whose time stands still until a test moves it on. */
export class FakePage extends EventTarget implements Page {
  isSecureContext = true
  /** Milliseconds since 1970. */
  now: number = Date.parse('2026-03-01T12:00:00Z')
  /** Where it was sent to. */
  readonly visited: string[] = []
  readonly location: { href: string; assign(url: string): void } = {
    href: 'https://app.example/page?tab=1#top',
    assign: (url) => void this.visited.push(url),
  }
  readonly document: { visibilityState: 'visible' | 'hidden' } = { visibilityState: 'visible' }
  readonly history: Page['history'] = { replaceState: (_data, _unused, url) => void (this.location.href = url) }
  readonly localStorage: TokenStorage
  readonly sessionStorage: TokenStorage = memoryStorage()
  crypto: Page['crypto'] = crypto
  /** Milliseconds of all timers until now. */
  readonly delays: number[] = []
  readonly #timers = new Map<number, { at: number; callback: () => void }>()

  constructor(localStorage: TokenStorage = memoryStorage()) {
    super()
    this.localStorage = localStorage
  }

  /** Nobody answers, unless a test says so. */
  fetch: Page['fetch'] = () => Promise.reject(new TypeError('Failed to fetch'))

  readonly clock = (): number => this.now

  /** The time in seconds since 1970, so many seconds from now. */
  secondsFromNow(seconds: number): number {
    return this.now / 1000 + seconds
  }

  get timers(): number {
    return this.#timers.size
  }

  setTimeout(callback: () => void, milliseconds: number): number {
    const id = this.delays.push(milliseconds)
    this.#timers.set(id, { at: this.now + milliseconds, callback })
    return id
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number)
  }

  /** Lets so many seconds go by, with what timers do in them. */
  pass(seconds: number): void {
    const until = this.now + seconds * 1000
    for (;;) {
      const [next] = [...this.#timers].filter(([, { at }]) => at <= until).toSorted(([, a], [, b]) => a.at - b.at)
      if (next === undefined) break
      const [id, { at, callback }] = next
      this.#timers.delete(id)
      this.now = at
      callback()
    }
    this.now = until
  }

  /** The machine sleeps for so many seconds: timers stand still. */
  sleep(seconds: number): void {
    this.now += seconds * 1000
  }

  hear(type: string): void {
    this.dispatchEvent(new Event(type))
  }
}

/** Tabs of one browser: what one of them writes, the others hear of. */
export function openTabs(count: number): FakePage[] {
  const items = memoryStorage()
  const tabs: FakePage[] = Array.from({ length: count }, (_, own) => {
    const tell = (): void => tabs.forEach((tab, at) => at !== own && tab.hear('storage'))
    return new FakePage({
      getItem: (key) => items.getItem(key),
      setItem: (key, value) => {
        items.setItem(key, value)
        tell()
      },
      removeItem: (key) => {
        items.removeItem(key)
        tell()
      },
    })
  })
  return tabs
}
