// What the steps of a run found, until it becomes the results.
import { cellOf } from './results.js'

/** @typedef {import('./results.js').Results} Results */
/** @typedef {import('./results.js').Cell} Cell */
/** @typedef {import('../peers.js').Peer} Peer */
/** @typedef {import('../measure.js').Round & import('../measure.js').Sizes} Round */
/** @typedef {import('../latency.js').Latency} Latency */
/** @typedef {import('../load/counting-proxy.js').Traffic} Traffic */
/** @typedef {{ peer: string, row: import('../check.js').Row, visitors: number }} Place */

/** @param {Place} place */
const keyOf = ({ peer, row, visitors }) => `${peer} ${row} ${visitors}`

export class Findings {
  /** @type {Map<string, { place: Place, rounds: Round[], latency?: Latency }>} */
  #cells = new Map()
  /** @type {Map<string, Partial<Record<string, Traffic>>>} */
  #traffic = new Map()
  /** @type {Results['memory']} */
  #memory = []
  /** @type {Results['bare']} */
  #bare = []

  /** @param {Place} place */
  #cell(place) {
    const cell = this.#cells.get(keyOf(place)) ?? { place, rounds: [] }
    this.#cells.set(keyOf(place), cell)
    return cell
  }

  /** @param {Place} place @param {Round} round */
  round(place, round) {
    this.#cell(place).rounds.push(round)
  }

  /** @param {Place} place @param {Latency} latency */
  latency(place, latency) {
    this.#cell(place).latency = latency
  }

  /** @param {Results['bare'][number]} one */
  bare(one) {
    this.#bare.push(one)
  }

  /** @param {Results['memory'][number]} one */
  memory(one) {
    this.#memory.push(one)
  }

  /** @param {string} peer @param {Partial<Record<string, Traffic>>} traffic */
  traffic(peer, traffic) {
    this.#traffic.set(peer, traffic)
  }

  /**
   * Of these peers only, in their order.
   *
   * @param {readonly Peer[]} peers
   * @returns {Pick<Results, 'peers' | 'rows' | 'bare' | 'memory'>}
   */
  results(peers) {
    const cells = [...this.#cells.values()]
    return {
      peers: peers.map(({ name, title, format, ours }) => {
        const signIn = this.#traffic.get(name)?.['sign-in']
        return { name, title, format, ours, ...(signIn && { signIn }) }
      }),
      rows: peers.flatMap(({ name }) =>
        cells
          .filter(({ place }) => place.peer === name)
          .map(({ place, rounds, latency }) => {
            const store = this.#traffic.get(name)?.[place.row]
            return { ...cellOf(place, rounds), ...(latency && { latency }), ...(store && { store }) }
          }),
      ),
      bare: this.#bare,
      memory: peers.flatMap(({ name }) => this.#memory.filter(({ peer }) => peer === name)),
    }
  }
}
