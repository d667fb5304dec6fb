import type { Page } from 'playwright-core'

/** Says at the provider's page who it is. */
export async function signInAtProvider(page: Page, name = 'ada', password = 'lovelace'): Promise<void> {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

/** An address with one parameter changed. */
export function withParameter(address: string, name: string, value: string): string {
  const url = new URL(address)
  url.searchParams.set(name, value)
  return url.href
}
