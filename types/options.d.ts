/** An option of every function that touches the disk. */
export interface SignalOption {
  /**
   * Cancels the operation. An abort before the commit point undoes the operation and rejects with the signal's
   * reason. An abort after it has no effect. Signals of other realms and polyfills work. Default: none.
   * @see docs/getting-started.md#options-cancellation-and-errors
   */
  signal?: AbortSignal | null
}
