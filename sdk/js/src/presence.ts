import type { Brook } from './client.js';
import type { Frame } from './types.js';

/** Member is a user who is in a channel. */
export interface Member<T = any> {
  id: string;
  /** data is what its latest enter or update said. */
  data: T;
  /** since is when it entered, in Unix milliseconds. */
  since: number;
  /** connections is on how many it is there; 0 while it may come back after its connection broke. */
  connections: number;
}

/** Left is a member that is gone. */
export interface Left {
  id: string;
  reason: 'left' | 'timeout' | 'node';
}

/** Change is what is new; after a sync or in a large channel it is left out. */
export interface Change<T = any> {
  entered: Member<T>[];
  updated: Member<T>[];
  left: Left[];
}

export type Watcher<T = any> = (presence: Presence<T>, change?: Change<T>) => void;

export interface PresenceOptions {
  /** id names the member; it is for server keys, since a token says itself who its bearer is. */
  id?: string;
}

type Waiter = [() => void, (err: Error) => void];

/**
 * Presence is who is in a channel, and this client's own part in it, which is taken up again
 * on each new connection.
 */
export class Presence<T = any> {
  /** members are those that are known, by id. In a large channel there are none, only `count`. */
  readonly members = new Map<string, Member<T>>();
  /** count is how many members there are. */
  count = 0;

  readonly #wire: Brook['wire'];
  readonly #watchers = new Set<Watcher<T>>();
  #entered?: { data: unknown };
  #waiting: Waiter[] = [];
  #timer?: ReturnType<typeof setTimeout>;
  readonly #ends: (() => void)[];

  readonly #id?: string;

  constructor(client: Brook, readonly channel: string, { id }: PresenceOptions = {}) {
    this.#id = id;
    const wire = (this.#wire = client.wire);
    wire.held.add(channel);
    const hide = () => wire.drop(); // a browser would close with 1001, which means to leave
    globalThis.addEventListener?.('pagehide', hide);
    this.#ends = [
      () => globalThis.removeEventListener?.('pagehide', hide),
      wire.on((f) => void (f.channel === channel && this.#take(f))),
      wire.up(() => this.#resume()),
    ];
  }

  /** enter makes the client a member; it resolves when every node knows. */
  enter(data?: T): Promise<void> {
    this.#entered = { data };
    return this.#send('enter', data);
  }

  /** update changes the data of the client's member. */
  update(data: T): Promise<void> {
    if (this.#entered) this.#entered = { data };
    return this.#send('update', data);
  }

  /** leave ends the membership. */
  leave(): Promise<void> {
    if (!this.#entered) return Promise.resolve();
    this.#entered = undefined;
    return this.#send('leave');
  }

  /** watch calls back when something changes, until the returned function is called. */
  watch(call: Watcher<T>): () => void {
    this.#watchers.add(call);
    if (this.#watchers.size === 1) this.#subscribe();
    return () => void this.#watchers.delete(call);
  }

  /** close leaves and forgets the members. */
  close(): void {
    this.leave().catch(() => {});
    clearTimeout(this.#timer);
    this.#wire.held.delete(this.channel);
    this.#watchers.clear();
    for (const end of this.#ends) end();
    for (const w of this.#waiting) w[0]();
  }

  #send(action: string, data?: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      const sent = this.#wire.send({ type: 'presence', channel: this.channel, action, id: this.#id, data });
      if (sent || action === 'enter') this.#waiting.push([resolve, reject]);
      else if (action === 'leave') resolve(); // the grace ends it
      else reject(new Error('not connected'));
    });
  }

  #subscribe(): void {
    this.#wire.send({ type: 'subscribe', channel: this.channel, from: 'live', presence: 'members' });
  }

  /** resume takes up again what belongs to a connection. What waits for answers waits for the one to `enter`. */
  #resume(): void {
    clearTimeout(this.#timer);
    if (this.#watchers.size) this.#subscribe();
    const waiting = this.#waiting;
    this.#waiting = [];
    const all = (i: 0 | 1) => (err?: any) => waiting.forEach((w) => w[i](err));
    if (this.#entered) this.#send('enter', this.#entered.data).then(all(0), all(1));
    else all(0)();
  }

  #take(f: Frame): void {
    if ((f.type === 'presence_ok' || f.type === 'error') && this.#id && f.id !== this.#id) return;
    if (f.type === 'presence_ok') return this.#waiting.shift()?.[0]();
    if (f.type === 'error' && f.id === this.#id) {
      const again = f.code === 'rate_limited' || f.code === 'unavailable';
      if (again) this.#timer = setTimeout(() => this.#resume(), f.retryAfter ?? 1_000);
      else this.#waiting.shift()?.[1](Object.assign(new Error(f.error), { code: f.code }));
      return;
    }
    if (f.type === 'occupancy') {
      this.members.clear();
      this.count = f.members;
    } else if (f.type === 'presence') {
      if (f.sync?.part === 1) this.members.clear();
      for (const m of [...(f.members ?? []), ...(f.entered ?? []), ...(f.updated ?? [])]) this.members.set(m.id, m);
      for (const m of f.left ?? []) this.members.delete(m.id);
      this.count = f.count;
      if (f.sync && !f.sync.last) return;
    } else return;
    for (const call of [...this.#watchers]) call(this, f.entered && (f as unknown as Change<T>));
  }
}

/** presence returns who is in a channel of a client. */
export function presence<T = any>(client: Brook, channel: string, options?: PresenceOptions): Presence<T> {
  return new Presence<T>(client, channel, options);
}

export default presence;
