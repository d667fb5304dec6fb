import { once } from 'node:events'
import { chromium } from 'playwright-core'
import { test } from 'tap'
import { WebSocket } from 'ws'
import { Client } from '../server.ts'
import { SECRET } from '../session-app.ts'
import { freePort, start } from './program.ts'

const launch = async () => ({ env: { PORT: await freePort(), SECRET_KEY_BASE: SECRET } })

/** What a socket is told first, or the status with which it is refused. */
async function connect(port: number, headers: Record<string, string>): Promise<string | number> {
  const socket = new WebSocket(`ws://localhost:${port}/`, { headers })
  socket.on('error', () => {})
  try {
    return await Promise.race([
      once(socket, 'message').then(([data]) => String(data)),
      once(socket, 'unexpected-response').then(([, res]) => (res as { statusCode: number }).statusCode),
    ])
  } finally {
    socket.terminate()
  }
}

test('websocket greets by the name of the session, and refuses visitors and other origins', async (t) => {
  const { port, url, output } = await start(t, 'websocket', await launch())
  const client = new Client(port)
  const host = `localhost:${port}`
  const signedIn = await client.get('/', {
    method: 'POST',
    headers: { host, 'content-type': 'application/x-www-form-urlencoded' },
    body: 'name=Ada+L.',
  })
  t.equal(signedIn.status, 303)
  const { cookie } = client
  t.equal(await connect(port, { origin: url, cookie }), 'hello Ada L.')
  t.equal(await connect(port, { origin: url }), 401, 'a visitor')
  t.equal(await connect(port, { cookie }), 401, 'no browser')
  for (const origin of ['http://evil.example', `http://127.0.0.1:${port}`, `https://${host}`, 'null']) {
    t.equal(await connect(port, { origin, cookie }), 401, origin)
  }
  t.notMatch(output(), /error/i)
})

test('in a browser the page of websocket shows the greeting', async (t) => {
  const { url } = await start(t, 'websocket', await launch())
  const browser = await chromium.launch({
    executablePath: process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost'],
  })
  t.teardown(() => browser.close())
  const page = await browser.newPage()
  await page.goto(url)
  t.equal(await page.locator('p').innerText(), 'sign in first')
  await page.getByLabel('Your name').fill('Grace')
  await page.getByRole('button').click()
  await page.getByText('hello Grace').waitFor()
  t.equal(await page.locator('p').innerText(), 'hello Grace')
})
