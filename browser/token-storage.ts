/** Where a token is kept. `localStorage` and `sessionStorage` are such. */
export interface TokenStorage {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

/** Keeps what it is given until the page is left or loaded anew, where no other script finds it. */
export function memoryStorage(): TokenStorage {
  const items = new Map<string, string>()
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
  }
}

/** What of Lockr is used here. */
export interface Lockr {
  get(key: string): unknown
  set(key: string, value: string): unknown
  rm(key: string): unknown
}

/**
 * Lockr 0.8, which keeps `{"data": …}` in `localStorage`. Where the browser keeps nothing, because its storage is full,
 * Lockr only warns; here `setItem` throws, as that of `localStorage` does.
 */
export function lockrStorage(lockr: Lockr): TokenStorage {
  const getItem = (key: string): string | null => {
    const value = lockr.get(key)
    return typeof value === 'string' ? value : null
  }
  return {
    getItem,
    setItem: (key, value) => {
      lockr.set(key, value)
      if (getItem(key) !== value) throw new Error(`Lockr could not keep ${key}: the storage of the browser is full.`)
    },
    removeItem: (key) => void lockr.rm(key),
  }
}
