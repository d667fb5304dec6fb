// A WebSocket that knows who opened it: the session of the page, read on the upgrade.
import { createServer, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Builder, cookies, form, session, sessionFor, toListener } from 'luggage-rack'
import { WebSocketServer } from 'ws'

const stack = new Builder()
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ name: string }>({ key: '_hello_session', owner: 'name' }))
  .use(form())

const app = stack.run(async (req) => {
  if (req.method !== 'POST') return [200, { 'content-type': 'text/html; charset=utf-8' }, page]
  const name = (await req.form()).get('name')
  if (name) (await req.session).name = name
  return [303, { location: '/' }, '']
})

const page = `<!doctype html>
<title>Hello</title>
<form method="post"><label>Your name <input name="name"></label> <button>Sign in</button></form>
<p>sign in first</p>
<script>
  const socket = new WebSocket(location.href.replace('http', 'ws'))
  socket.onmessage = ({ data }) => (document.querySelector('p').textContent = data)
</script>
`

const sockets = new WebSocketServer({ noServer: true })

async function upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  socket.on('error', () => {}) // the client went away
  try {
    // empty for a visitor, and for a page of another origin, even where the browser sends our cookie along
    const { name } = await sessionFor(stack, req)
    if (name === undefined) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n')
      return
    }
    sockets.handleUpgrade(req, socket, head, (client) => {
      client.on('error', () => {})
      client.on('message', (data) => client.send(`${name} said ${(data as Buffer).toString()}`))
      client.send(`hello ${name}`)
    })
  } catch (error) {
    console.error(error)
    socket.destroy()
  }
}

const port = Number(process.env.PORT ?? 3000)
createServer(toListener(app))
  .on('upgrade', (req, socket, head) => void upgrade(req, socket, head))
  .listen(port, () => console.log(`http://localhost:${port}`))
