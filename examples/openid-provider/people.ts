/** Somebody who can sign in. A real provider keeps no password, only what it can be checked against. */
export interface Person {
  readonly login: string
  readonly password: string
  /** What applications are told. `sub` is what they know somebody by, and never changes. */
  readonly claims: {
    readonly sub: string
    readonly name: string
    readonly given_name: string
    readonly family_name: string
    readonly nickname: string
    readonly email: string
    readonly email_verified: boolean
    /** What they belong to. */
    readonly groups?: readonly string[]
  }
}

export const PEOPLE: readonly Person[] = [
  person('Ada', 'Lovelace', '1815'),
  person('Grace', 'Hopper', '1906'),
  // as people of large companies, whose tokens fit no cookie
  person('Charles', 'Babbage', '1791', 200),
]

function person(given: string, family: string, sub: string, groups = 0): Person {
  const login = given.toLowerCase()
  return {
    login,
    password: family.toLowerCase(),
    claims: {
      sub,
      name: `${given} ${family}`,
      given_name: given,
      family_name: family,
      nickname: login,
      email: `${login}@example.com`,
      email_verified: true,
      ...(groups > 0 && { groups: Array.from({ length: groups }, (_, i) => `department-${i}`) }),
    },
  }
}
