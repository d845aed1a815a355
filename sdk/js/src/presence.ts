import type { Channel } from './channel.js';
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

/** Room is what the Presence objects of one member share: the server sees one connection of it. */
class Room {
  readonly members = new Map<string, Member>();
  count = 0;
  /** users are those that are open, and whether each has entered. */
  readonly users = new Map<object, boolean>();
  readonly #watchers = new Set<(change?: Change) => void>();

  #entered?: { data: unknown };
  #waiting: Waiter[] = [];
  #timer?: ReturnType<typeof setTimeout>;
  readonly #ends: (() => void)[];

  constructor(readonly wire: Brook['wire'], readonly channel: string, readonly id?: string) {
    const hide = () => wire.drop(); // a browser would close with 1001, which means to leave
    globalThis.addEventListener?.('pagehide', hide);
    this.#ends = [
      () => globalThis.removeEventListener?.('pagehide', hide),
      wire.on((f) => void (f.channel === channel && this.#take(f))),
      wire.up(() => this.#resume()),
    ];
  }

  enter(user: object, data: unknown): Promise<void> {
    this.users.set(user, true);
    this.#entered = { data };
    return this.#send('enter', data);
  }

  update(data: unknown): Promise<void> {
    if (this.#entered) this.#entered = { data };
    return this.#send('update', data);
  }

  async leave(user: object): Promise<void> {
    if (!this.users.get(user)) return;
    this.users.set(user, false);
    if ([...this.users.values()].includes(true)) return;
    this.#entered = undefined;
    return this.#send('leave');
  }

  watch(call: (change?: Change) => void): () => void {
    this.#watchers.add(call);
    if (this.#watchers.size === 1) this.#subscribe();
    else if (this.count) call();
    return () => void this.#watchers.delete(call);
  }

  /** close reports whether that was the last user. */
  close(user: object): boolean {
    this.leave(user).catch(() => {});
    if (!this.users.delete(user) || this.users.size) return false;
    clearTimeout(this.#timer);
    for (const end of this.#ends) end();
    for (const w of this.#waiting) w[0]();
    return true;
  }

  #send(action: string, data?: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      const { wire, channel, id } = this;
      const sent = wire.send({ type: 'presence', channel, action, id, data });
      if (sent && !wire.has('presence')) reject(new Error('no presence over this connection'));
      else if (sent || action === 'enter') this.#waiting.push([resolve, reject]);
      else if (action === 'leave') resolve(); // the grace ends it
      else reject(new Error('not connected'));
    });
  }

  #subscribe(): void {
    this.wire.send({ type: 'subscribe', channel: this.channel, from: 'live', presence: 'members' });
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
    if (f.type === 'unsubscribed') return this.#resume(); // to unsubscribe was to leave
    if (f.type === 'error' && f.presence) return console.error(f.error);
    if (f.action) {
      if (this.id && f.id !== this.id) return;
      if (f.type === 'presence_ok') return this.#waiting.shift()?.[0]();
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
    for (const call of [...this.#watchers]) call(f.entered && (f as unknown as Change));
  }
}

/**
 * Presence is who is in a channel, and this client's own part in it, which is taken up again
 * on each new connection. Several of one channel and id are one member, until the last one leaves.
 */
export class Presence<T = any> {
  readonly #room: Room;
  readonly #ends: (() => void)[] = [];

  readonly #channel: Channel;

  constructor(client: Brook, readonly channel: string, { id }: PresenceOptions = {}) {
    const { wire } = client;
    this.#channel = client.createChannel(channel);
    const rooms = wire.held.get(channel) ?? new Set<Room>();
    wire.held.set(channel, rooms);
    let room = [...rooms].find((r) => r.id === id);
    if (!room) rooms.add((room = new Room(wire, channel, id)));
    this.#room = room;
    room.users.set(this, false);
  }

  /** members are those that are known, by id. In a large channel there are none, only `count`. */
  get members(): ReadonlyMap<string, Member<T>> {
    return this.#room.members;
  }

  /** count is how many members there are. */
  get count(): number {
    return this.#room.count;
  }

  /** enter makes the client a member; it resolves when every node knows. */
  enter(data?: T): Promise<void> {
    return this.#room.enter(this, data);
  }

  /** update changes the data of the client's member. */
  update(data: T): Promise<void> {
    return this.#room.update(data);
  }

  /** leave ends the membership, unless another Presence has entered, too. */
  leave(): Promise<void> {
    return this.#room.leave(this);
  }

  /** watch calls back when something changes, until the returned function is called. */
  watch(call: Watcher<T>): () => void {
    const end = this.#room.watch((change) => call(this, change));
    this.#ends.push(end);
    return end;
  }

  /** close leaves and forgets the members. */
  close(): void {
    for (const end of this.#ends) end();
    const { channel } = this;
    const { held, send } = this.#room.wire;
    const rooms = held.get(channel);
    if (!this.#room.close(this) || !rooms?.delete(this.#room) || rooms.size) return;
    held.delete(channel);
    if (!this.#channel.getStats().streamHandlers) send({ type: 'unsubscribe', channel });
  }
}

/** presence returns who is in a channel of a client. */
export function presence<T = any>(client: Brook, channel: string, options?: PresenceOptions): Presence<T> {
  return new Presence<T>(client, channel, options);
}

export default presence;
