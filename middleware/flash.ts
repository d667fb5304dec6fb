import { describe, type Middleware } from '../lib/app.ts'
import { closeBody, guardBody } from '../lib/body.ts'
import { callInner } from '../lib/call-inner.ts'
import { RequestFlash, type FlashHandle } from '../lib/flash-handle.ts'
import { requireSession } from '../lib/session-handle.ts'

/** The messages that Rails knows by itself. Name your own: `flash<{ notice: string; joyride: string }>()`. */
export interface FlashTypes {
  notice: string
  alert: string
}

/**
 * Messages for the next request, Rails' flash: adds `req.flash`. They are kept in the session under `flash`, in
 * Rails' own shape. A request that does not touch the flash loads nothing, and leaves it for a later one.
 *
 * ```ts
 * const flash = await req.flash
 * flash.notice = 'Saved.' // the next request sees it, and the one after it does not
 * ```
 */
export function flash<Data extends object = FlashTypes>(): Middleware<
  { readonly flash: FlashHandle<Data> },
  { readonly session: unknown }
> {
  return describe('flash', { adds: ['flash'], needs: ['session'] }, (app) => (req) => {
    const session = requireSession(req, 'flash')
    const { flash: outer } = req as { flash?: unknown }
    if (outer instanceof RequestFlash && outer.isOf(session)) return app(req as Parameters<typeof app>[0])
    const handle = new RequestFlash(session, req)
    return callInner(
      app,
      req,
      { flash: handle as unknown as FlashHandle<Data> },
      {
        commit(response) {
          const committed = handle.commit()
          if (committed === undefined) return response
          // the body waits for the session, and may fail meanwhile
          guardBody(response)
          return committed.then(
            () => response,
            (error: unknown) => {
              closeBody(response[2])
              throw error
            },
          )
        },
        close: () => handle.close(),
      },
    )
  })
}
