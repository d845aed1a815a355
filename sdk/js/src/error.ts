import type { Frame } from './types.js';

/** BrookError is why something failed, with a code of the protocol ("Every refusal") or one of the client's own. */
export class BrookError extends Error {
  /** code names the reason, such as `forbidden`, `outcome_unknown`, `queue_full` or `closed`. */
  readonly code: string;
  /** retryAfter is how long to wait before trying again, in milliseconds, where the server said so. */
  readonly retryAfter?: number;
  /** id is that of the publish that failed. */
  readonly id?: string;

  constructor(code: string, text: string, more: { retryAfter?: number; id?: string } = {}) {
    super(text);
    this.name = 'BrookError';
    this.code = code;
    if (more.retryAfter !== undefined) this.retryAfter = more.retryAfter;
    if (more.id !== undefined) this.id = more.id;
  }
}

/** errorOf makes an error of an error frame. Servers of other makes send no code. */
export const errorOf = (f: Frame) =>
  new BrookError(f.code ?? 'refused', String(f.error ?? 'refused'), { retryAfter: f.retryAfter, id: f.id });
