const warned = new Set<string>()

/** A process warning, once for each code: the setting that causes it stays as it is from request to request. */
export function warnOnce(code: string, message: string): void {
  if (warned.has(code)) return
  warned.add(code)
  process.emitWarning(message, { type: 'LuggageRackWarning', code })
}
