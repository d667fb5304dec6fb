export { testStore, type TestStoreOptions } from '../stores/test-store.ts'
