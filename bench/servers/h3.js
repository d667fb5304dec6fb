import { serveWith } from './h3-pages.js'

await serveWith()
