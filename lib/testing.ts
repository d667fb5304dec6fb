export type { BrowserJar, HeldCookie } from './browser-jar.ts'
export {
  MockRequest,
  type MockClient,
  type MockInit,
  type MockRequestOptions,
  type MockResponse,
  type MockSessionOptions,
} from './mock-request.ts'
export { testStore, type TestStoreOptions } from '../stores/test-store.ts'
