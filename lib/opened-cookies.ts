import type { OpenedSeal } from './session-store.ts'

/** Characters of cookies that one of the two halves takes: some 19,000 cookies of a small session. */
const HALF = 8 * 1024 * 1024

/** Characters at a cookie's end by which it is found: they hold the tag of its seal, which no two have in common. */
const TAIL = 24

interface Opened {
  readonly text: string
  readonly seal: OpenedSeal
}

/**
 * Session cookies that were opened lately: what a text opens to is a pure function of it and of the
 * keys, so a visitor who comes back is not decrypted again. Whether it has ended is asked anew each time. Only
 * what was authenticated gets in, so nobody can fill it with what he made up.
 */
export class OpenedCookies {
  #recent = new Map<number, Opened>()
  #older = new Map<number, Opened>()
  #characters = 0

  get(text: string): OpenedSeal | undefined {
    const tail = hashOf(text)
    const opened = this.#recent.get(tail)
    if (opened !== undefined && opened.text === text) return opened.seal
    const older = this.#older.get(tail)
    if (older === undefined || older.text !== text) return undefined
    this.#put(tail, older)
    return older.seal
  }

  /** Nobody may change what is kept: the session copies what it hands out. */
  set(text: string, seal: OpenedSeal): void {
    // a copy: a part of a header would keep all of it
    const copy = Buffer.from(text, 'latin1').toString('latin1')
    this.#put(hashOf(copy), { text: copy, seal })
  }

  #put(tail: number, opened: Opened): void {
    this.#characters += opened.text.length - (this.#recent.get(tail)?.text.length ?? 0)
    if (this.#characters > HALF) {
      // cheaper than to keep them in the order of use; what is asked for again comes back
      this.#older = this.#recent
      this.#recent = new Map()
      this.#characters = opened.text.length
    }
    this.#recent.set(tail, opened)
  }
}

/** A number for a text; to look for the text itself, all of it would have to be read once more, and kept twice. */
function hashOf(text: string): number {
  let hash = 0
  for (let i = Math.max(0, text.length - TAIL); i < text.length; i++) hash = (hash * 31 + text.charCodeAt(i)) | 0
  return hash
}
