import { BrookError, errorOf } from './error.js';
import type { Link } from './link.js';
import type { ClientConfig, Frame, PublishResult } from './types.js';

/** The server remembers ids for ten minutes; after nine a repeat might no longer be recognised. */
const repeatFor = 9 * 60_000;
const sweepEvery = 500;

interface Item {
  id: string;
  text: string;
  born: number;
  /** maybe: it was sent at least once, so it may have happened. */
  maybe: boolean;
  /** link that it waits on for an answer, since `sent`; none while it waits to be sent, from `due` on. */
  link?: Link;
  sent: number;
  due: number;
  resolve: (r: PublishResult) => void;
  reject: (e: BrookError) => void;
}

/**
 * Outbox keeps what was published until the server has answered, in order, and repeats it
 * with the same id when a connection is lost, so that it happens once.
 */
export class Outbox {
  readonly #items = new Map<string, Item>();
  #link?: Link;
  #timer?: ReturnType<typeof setInterval>;

  readonly #config: ClientConfig;

  constructor(config: ClientConfig) {
    this.#config = config;}

  get size(): number {
    return this.#items.size;
  }

  publish(channel: string, message: unknown, id = newId()): Promise<PublishResult> {
    return new Promise((resolve, reject) => {
      let text: string | undefined;
      try {
        text = JSON.stringify(message);
      } catch (err) {
        return reject(new BrookError('invalid_message', String(err), { id }));
      }
      if (text === undefined) return reject(new BrookError('invalid_message', 'not a JSON value', { id }));
      if (this.#items.has(id)) return reject(new BrookError('conflict', 'this id is being published', { id }));
      text = `{"type":"publish","channel":${JSON.stringify(channel)},"message":${text},"id":${JSON.stringify(id)}}`;
      if (!this.#link && this.#full(text.length)) {
        return reject(new BrookError('queue_full', 'too much was published while offline', { id }));
      }
      const now = Date.now();
      const item: Item = { id, text, born: now, maybe: false, sent: 0, due: now, resolve, reject };
      this.#items.set(id, item);
      this.#timer ??= setInterval(() => this.#sweep(), sweepEvery);
      if (this.#link) this.#send(item);
    });
  }

  /** open sends what waits over a new link, the oldest first. */
  open(link: Link): void {
    this.#link = link;
    for (const item of this.#items.values()) this.#send(item);
  }

  /** lose makes what waited on a link wait for the next one. */
  lose(link: Link): void {
    if (this.#link === link) this.#link = undefined;
    for (const item of this.#items.values()) if (item.link === link) item.link = undefined;
  }

  /** waitsOn says whether answers are outstanding on a link. */
  waitsOn(link: Link): boolean {
    for (const item of this.#items.values()) if (item.link === link) return true;
    return false;
  }

  /** answer takes a frame with the id of a publish. */
  answer(f: Frame): void {
    const item = this.#items.get(f.id);
    if (!item) return;
    if (f.type === 'published') {
      this.#remove(item);
      const { offset, timestamp, id, duplicate } = f;
      item.resolve({ success: true, error: null, offset, timestamp, id, duplicate: !!duplicate });
    } else if (f.code === 'outcome_unknown' || f.code === 'unavailable') {
      item.maybe ||= f.code === 'outcome_unknown';
      item.link = undefined;
      item.due = Date.now() + (f.retryAfter || 1_000);
    } else {
      this.#remove(item);
      item.reject(errorOf(f));
    }
  }

  /** fail ends all that waits. What may have happened is told so. */
  fail(why: BrookError): void {
    for (const item of [...this.#items.values()]) this.#giveUp(item, why);
    this.#link = undefined;
  }

  #full(bytes: number): boolean {
    const { max = 1_000, maxBytes = 1 << 20 } = this.#config.offlineQueue ?? {};
    for (const item of this.#items.values()) bytes += item.text.length;
    return this.#items.size >= max || bytes > maxBytes;
  }

  #send(item: Item): void {
    if (!this.#link || item.link || item.due > Date.now()) return;
    item.link = this.#link;
    item.sent = Date.now();
    item.maybe = true;
    this.#link.send(item.text);
  }

  #sweep(): void {
    const now = Date.now();
    const { maxAgeMs = 60_000 } = this.#config.offlineQueue ?? {};
    for (const item of [...this.#items.values()]) {
      if (now - item.born > (item.maybe ? repeatFor : maxAgeMs)) {
        this.#giveUp(item, new BrookError('unavailable', 'not sent in time', { id: item.id }));
      } else if (item.link && now - item.sent > (this.#config.ackTimeoutMs ?? 10_000)) {
        item.link.probe();
        item.link = undefined;
      }
      this.#send(item);
    }
  }

  #giveUp(item: Item, why: BrookError): void {
    this.#remove(item);
    const { id } = item;
    item.reject(item.maybe ? new BrookError('outcome_unknown', 'it may have happened', { id }) : why);
  }

  #remove(item: Item): void {
    this.#items.delete(item.id);
    if (!this.#items.size) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}

/** newId makes an id that no other publish has. crypto is missing in pages without TLS only in part: getRandomValues is there. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}
