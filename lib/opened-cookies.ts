import type { OpenedSeal } from './session-store.ts'

/** Characters of cookies that one of the two halves takes: some 19,000 cookies of a small session. */
const HALF = 8 * 1024 * 1024

/**
 * Session cookies that were opened lately: what a text opens to is a pure function of it and of the
 * keys, so a visitor who comes back is not decrypted again. Whether it has ended is asked anew each time. Only
 * what was authenticated gets in, so nobody can fill it with what he made up.
 */
export class OpenedCookies {
  #recent = new Map<string, OpenedSeal>()
  #older = new Map<string, OpenedSeal>()
  #characters = 0

  get(text: string): OpenedSeal | undefined {
    const opened = this.#recent.get(text)
    if (opened !== undefined) return opened
    const older = this.#older.get(text)
    if (older !== undefined) this.set(text, older)
    return older
  }

  /** Nobody may change what is kept: the session copies what it hands out. */
  set(text: string, opened: OpenedSeal): void {
    this.#characters += text.length
    if (this.#characters > HALF) {
      // cheaper than to keep them in the order of use; what is asked for again comes back
      this.#older = this.#recent
      this.#recent = new Map()
      this.#characters = text.length
    }
    this.#recent.set(text, opened)
  }
}
