import { RackError } from './errors.ts'

/** A subcommand: what follows it on the command line in, what it prints out. It rejects when it did not work. */
export type Command = (args: readonly string[]) => Promise<void>

/**
 * What the command could not do. The message says what to do; it quotes nothing that was given, since that may be a
 * cookie or a password.
 */
export class CommandError extends RackError {}

/** The command was called wrongly, which its help mends. */
export class UsageError extends CommandError {
  constructor(message: string) {
    super('ERR_USAGE', message)
  }
}
