// luggage-rack/browser: signing in by OpenID Connect from a page
export { AuthError, type AuthFailure } from './auth-error.ts'
export { AuthService, type AuthEvent, type AuthServiceOptions } from './auth-service.ts'
export type { Page } from './page.ts'
export { getTokenExpirationDate, isTokenExpired, type Claims } from './token-expiry.ts'
export { lockrStorage, memoryStorage, type Lockr, type TokenStorage } from './token-storage.ts'
