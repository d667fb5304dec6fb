import { once } from 'node:events'

// beside control characters those that reorder, hide or join what stands around them; a line end is meant
const INVISIBLE = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** A text that a terminal shows and does not obey. In JSON it stays JSON, and the same. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (character) => {
    let escapes = ''
    for (let i = 0; i < character.length; i++) {
      escapes += String.raw`\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`
    }
    return escapes
  })
}

/** Prints text, no faster than it is read. */
export async function print(text: string): Promise<void> {
  if (!process.stdout.write(visible(text))) await once(process.stdout, 'drain')
}

/** One JSON document, for people as well. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

/** A time in ISO 8601; `null` for none, and for what is no time. */
export function isoTime(time: number | undefined): string | null {
  return time === undefined || Number.isNaN(new Date(time).getTime()) ? null : new Date(time).toISOString()
}

const UNITS = [
  ['year', 365 * 86_400_000],
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1000],
] as const

/** How far away a time is: `in 13 days`, `2 minutes ago`. */
export function inWords(time: number, now: number): string {
  const distance = time - now
  const [unit, length] = UNITS.find(([, length]) => Math.abs(distance) >= length) ?? (['second', 1000] as const)
  return new Intl.RelativeTimeFormat('en').format(Math.trunc(distance / length), unit)
}
