// Uploads beside a session: multer reads the form, and the session remembers what this visitor has sent.
import { createServer } from 'node:http'
import { Builder, cookies, csrf, fromConnect, session, showExceptions, toListener } from 'luggage-rack'
import multer, { MulterError } from 'multer'

const photo = multer({
  storage: multer.memoryStorage(),
  limits: { files: 1, fileSize: 1_000_000, fields: 10 },
  defParamCharset: 'utf8',
}).single('photo')

// The errors of multer, and of busboy below it, name no status and would be a 500. In memory, only the request can be
// at fault; on a disk, leave errors that have the code of a system error as they are.
const upload: typeof photo = (req, res, next) => {
  void photo(req, res, (error?: unknown) => {
    const isTooLarge = error instanceof MulterError && error.code === 'LIMIT_FILE_SIZE'
    if (error instanceof Error) Object.assign(error, { status: isTooLarge ? 413 : 400 })
    next(error)
  })
}

const app = new Builder()
  .use(showExceptions())
  .use(cookies({ secret: process.env.SECRET_KEY_BASE }))
  .use(session<{ photos: string[] }>({ key: '_upload_session' }))
  .use(csrf({ tokens: false })) // above multer: what another site sends is not even read
  .use(fromConnect<{ readonly file?: Express.Multer.File }>(upload))
  .run(async (req) => {
    const session = await req.session
    const photos = session.photos ?? []
    if (req.method !== 'POST') return [200, { 'content-type': 'text/html; charset=utf-8' }, page(photos)]
    const { file } = req
    if (!file) return [400, { 'content-type': 'text/plain' }, 'Choose a photo.\n']
    // `file.buffer` would be kept somewhere; the session, which is a cookie here, has room for some names
    session.photos = [...photos, `${file.originalname.slice(0, 40)} (${file.size} bytes)`].slice(-5)
    return [303, { location: '/' }, null]
  })

function page(photos: readonly string[]): string {
  return `<!doctype html>
<form method="post" enctype="multipart/form-data">
  <input type="file" name="photo" required>
  <button>Send</button>
</form>
<ul>${photos.map((name) => `<li>${escape(name)}</li>`).join('')}</ul>
`
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

const port = Number(process.env.PORT ?? 3000)
createServer(toListener(app)).listen(port, () => console.log(`http://localhost:${port}`))
