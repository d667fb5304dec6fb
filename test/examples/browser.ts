import { existsSync } from 'node:fs'
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core'
import type { Owner } from '../server.ts'

const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium'
if (!existsSync(executablePath)) {
  throw new Error(
    `These tests drive Chromium, and there is none at ${executablePath}. Install it (apt-get install chromium), ` +
      'or say where it is: CHROMIUM_PATH=/path/to/chromium',
  )
}

// it reaches this machine only
const args =
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --disable-background-networking --disable-component-update'

/** Chromium, until the tests of a file end. */
export async function launch(t: Owner): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath,
    ignoreDefaultArgs: ['--disable-back-forward-cache'], // which people's browsers have
    args: [...args.split(' '), '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost'],
  })
  t.teardown(() => browser.close())
  return browser
}

export interface Visit {
  readonly page: Page
  readonly context: BrowserContext
  /** What the browser complains of. */
  readonly complaints: string[]
}

/** A browser that was never there opens a page. */
export async function open(
  t: Owner,
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const context = await browser.newContext(options)
  // other tests keep the machine busy
  context.setDefaultTimeout(60_000)
  t.teardown(() => context.close())
  const complaints: string[] = []
  context.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  context.on('weberror', (raised) => complaints.push(raised.error().message))
  const page = await context.newPage()
  await page.goto(url)
  return { page, context, complaints }
}
