// h3's seal with the settings of iron-session, of which the rounds of key derivation alone are not h3's own.
import { serveWith } from './h3-pages.js'
import { DAY } from './serve.js'

await serveWith({
  seal: {
    encryption: { saltBits: 256, algorithm: 'aes-256-cbc', iterations: 1, minPasswordlength: 32 },
    integrity: { saltBits: 256, algorithm: 'sha256', iterations: 1, minPasswordlength: 32 },
    ttl: DAY * 1000,
    timestampSkewSec: 60,
    localtimeOffsetMsec: 0,
  },
})
