import type { TracingChannel } from 'node:diagnostics_channel'
import { isPromise, type Awaitable } from './app.ts'

/** Whether anybody wants to hear of a step. */
export function isWatched<Message extends object>(steps: TracingChannel<unknown, Message>): boolean {
  const { start, end, asyncStart, asyncEnd, error } = steps
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  )
}

/**
 * Does a step and tells of it, as `TracingChannel.tracePromise` would; but that would take what is no promise for one,
 * and await what has a `then`, which the session has.
 *
 * @param note puts into the message what came of it
 */
export function trace<Message extends { error?: unknown }, T>(
  steps: TracingChannel<unknown, Message>,
  message: Message,
  work: () => Awaitable<T>,
  note: (message: Message, value: T) => void,
): Awaitable<T> {
  const { start, end, asyncStart, asyncEnd, error } = steps
  const failed = (reason: unknown): void => {
    message.error = reason
    error.publish(message)
  }
  // with the stores that are bound to the start, so that a tracer's context reaches what is below
  return start.runStores(message, () => {
    let result: Awaitable<T>
    try {
      result = work()
      if (!isPromise(result)) note(message, result)
    } catch (reason) {
      failed(reason)
      end.publish(message)
      throw reason
    }
    end.publish(message)
    if (!isPromise(result)) return result
    return result.then(
      (value) => {
        note(message, value)
        asyncStart.publish(message)
        asyncEnd.publish(message)
        return value
      },
      (reason: unknown) => {
        failed(reason)
        asyncStart.publish(message)
        asyncEnd.publish(message)
        throw reason
      },
    )
  })
}

/** Whether a message says already what came of its step. At `end` it does not, where the step answered with a promise. */
export function isDone({ status, found, error }: { status?: number; found?: boolean; error?: unknown }): boolean {
  return status !== undefined || found !== undefined || error !== undefined
}

/** What belongs to a message and does not stand in it, since it is secret: for the lifecycle page, in development. */
const details = new WeakMap<object, unknown>()

/** Keeps what must not stand in a message where only `detailsOf` finds it. */
export function withDetails<Message extends object>(message: Message, detail: unknown): Message {
  details.set(message, detail)
  return message
}

/** @internal for `lifecycle()` */
export function detailsOf(message: object): unknown {
  return details.get(message)
}
