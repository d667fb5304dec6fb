import Koa from 'koa'
import session from 'koa-session'
import { createServer } from 'node:http'
import { COOKIE, DAY, FIRST_VISIT, numberIn, page, SECRET, serve, visitor } from './serve.js'

const app = new Koa()
app.keys = [SECRET]
app.use(session({ ...COOKIE, maxAge: DAY * 1000 }, app))
app.use((ctx) => {
  if (ctx.path === '/untouched') {
    ctx.body = page()
  } else if (ctx.path === '/read') {
    const { userId, visits } = ctx.session ?? {}
    ctx.body = page(userId, visits)
  } else if (ctx.path === '/written') {
    const own = ctx.session ?? {}
    own.visits = (own.visits ?? FIRST_VISIT) + 1
    ctx.body = page(own.userId, own.visits)
  } else {
    Object.assign(ctx.session ?? {}, visitor(numberIn(ctx.path)))
    ctx.body = 'signed in\n'
  }
})
const listener = app.callback()
await serve(createServer((req, res) => void listener(req, res)))
