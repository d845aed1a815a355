import { BrookError, errorOf } from './error.js';
import type { Link } from './link.js';
import type {
  ChannelStats, Frame, MessageHandler, PublishOptions, PublishResult, Status, Store, StreamOptions, Subscribed,
  Unsubscribe,
} from './types.js';

/** Owner is what a channel needs of its client. */
export interface Owner {
  readonly link?: Link;
  readonly store?: Store;
  /** held says whether somebody else needs the channel's subscription. */
  held(name: string): boolean;
  publish(channel: string, message: unknown, id?: string): Promise<PublishResult>;
  status(): Status;
  report(err: unknown): void;
}

interface Stream extends StreamOptions {
  call: MessageHandler;
  resolve: (s: Subscribed) => void;
  reject: (e: BrookError) => void;
}

/** How long replayed messages may be on their way behind `subscribed`. */
const replayGrace = 1_000;
const retryPause = 1_000;

/**
 * Channel is a cursor and the handlers that follow it. However many handlers there are, the
 * server sees one subscription, which is made anew on each connection from where the cursor is.
 */
export class Channel {
  readonly #streams = new Set<Stream>();
  /** offset and epoch are where the cursor is; -1 is nowhere yet. */
  #offset = -1;
  #epoch?: string;
  /** head is what a first `subscribed` said, until a message has come. */
  #head?: { offset: number; at: number };
  /** link that the subscription was asked for on, and the one that it was granted on. */
  #asked?: Link;
  #granted?: Link;
  #subscribed?: Subscribed;
  #loading = false;
  /** missed: messages came while nobody followed the channel. */
  #missed = false;
  #timer?: ReturnType<typeof setTimeout>;

  readonly #owner: Owner;

  constructor(readonly name: string, owner: Owner) {
    this.#owner = owner;
    try {
      const kept = JSON.parse(owner.store?.getItem(this.#key()) || 'null');
      if (kept) [this.#offset, this.#epoch] = kept;
    } catch {
      // storage that throws or was written by somebody else counts as empty
    }
  }

  /** stream calls back for every message, in order, until the returned function is called. */
  stream<T = any>(callback: MessageHandler<T>, options: StreamOptions = {}): Unsubscribe {
    if (typeof callback !== 'function') throw new Error('Stream callback must be a function');
    const stream = { ...options, call: callback } as Stream;
    const ready = new Promise<Subscribed>((resolve, reject) => Object.assign(stream, { resolve, reject }));
    ready.catch(() => {}); // whoever waits for it sees it; nobody has to
    const first = this.#streams.size === 0;
    this.#streams.add(stream);
    if (first) this.#begin(stream);
    else if (this.#subscribed) stream.resolve(this.#subscribed);
    return Object.assign(() => this.#stop(stream), { ready });
  }

  /** unstream ends the streams of a callback. */
  unstream(callback: MessageHandler): void {
    for (const s of [...this.#streams]) if (s.call === callback) this.#stop(s);
  }

  /** publish resolves when the message is safe on the servers. */
  publish(message: unknown, options: PublishOptions = {}): Promise<PublishResult> {
    return this.#owner.publish(this.name, message, options.id);
  }

  /** send is publish. */
  send(message: unknown, options?: PublishOptions): Promise<PublishResult> {
    return this.publish(message, options);
  }

  /** close ends all streams of the channel. */
  close(): void {
    for (const s of [...this.#streams]) this.#stop(s);
  }

  getStats(): ChannelStats {
    return { name: this.name, streamHandlers: this.#streams.size, connectionState: this.#owner.status() };
  }

  /** @internal subscribe asks for the channel on a link, once. */
  subscribe(link: Link | undefined, again = false): void {
    if (!link?.up || !this.#streams.size || this.#loading || (this.#asked === link && !again)) return;
    this.#asked = link;
    clearTimeout(this.#timer);
    if (this.#offset < 0 && this.#head && Date.now() - this.#head.at > replayGrace) this.#offset = this.#head.offset;
    const { from, loadState } = this.#first();
    const strict = (loadState && link.has('strict')) || undefined;
    const offset = this.#offset;
    const epoch = this.#epoch;
    // An offset of 0 is a position only together with an epoch.
    const start = offset > 0 || (offset === 0 && epoch)
      ? { fromOffset: offset, epoch }
      : { fromOffset: 0, from: offset === 0 ? 'all' : from };
    link.send({ type: 'subscribe', channel: this.name, strict, ...start });
  }

  /** @internal isOn says whether the channel has all it wants on a link. */
  isOn(link: Link): boolean {
    return !this.#streams.size || this.#granted === link;
  }

  /** @internal take takes a frame about this channel. */
  take(f: Frame, link: Link): void {
    if (f.type === 'message') return this.#message(f, link);
    if (f.type === 'gap' && f.to > this.#offset) {
      this.#move(f.to);
      this.#each((s) => s.onGap?.(f.from, f.to));
    }
    if (link !== this.#asked) return;
    if (f.type === 'subscribed') this.#grant(f, link);
    if (f.type === 'error' && !f.action && !f.presence) this.#refuse(f);
  }

  /** @internal fail ends the hope of all streams that still wait. */
  fail(why: BrookError): void {
    for (const s of this.#streams) s.reject(why);
  }

  #begin(s: Stream): void {
    if (s.from !== undefined) {
      this.#offset = typeof s.from === 'number' ? s.from : -1;
      this.#epoch = s.epoch;
    }
    if (s.loadState) void this.#load(s.loadState);
    else this.#follow();
  }

  /** follow subscribes. What was missed the server has sent, and sends again only after an unsubscribe. */
  #follow(): void {
    if (this.#missed) this.#unsubscribe(this.#owner.link);
    this.#missed = false;
    this.subscribe(this.#owner.link);
  }

  #unsubscribe(link?: Link): void {
    if (link?.up) link.send({ type: 'unsubscribe', channel: this.name });
  }

  #stop(s: Stream): void {
    if (!this.#streams.delete(s)) return;
    s.reject(new BrookError('closed', 'the stream has ended'));
    if (this.#streams.size) return;
    clearTimeout(this.#timer);
    if (!this.#owner.held(this.name)) this.#unsubscribe(this.#asked);
    this.#asked = this.#granted = this.#subscribed = undefined;
  }

  /** load lets the application say where it is, and goes on from there. */
  async #load(loadState: NonNullable<StreamOptions['loadState']>): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    try {
      const { offset, epoch } = await loadState();
      this.#offset = offset;
      this.#epoch = epoch;
    } catch (err) {
      this.#owner.report(err);
      this.#later(() => void this.#load(loadState));
      return;
    } finally {
      this.#loading = false;
    }
    this.#asked = undefined;
    this.#follow();
  }

  #message(f: Frame, link: Link): void {
    if (!this.#granted) this.#missed = true; // it is for somebody else
    if (!this.#granted) return;
    const offset = f.offset as number;
    if (offset > 0) {
      if (offset <= this.#offset) return; // had over another connection
      this.#move(offset);
    } else if (link !== this.#granted) {
      return; // a channel that keeps nothing, heard over two connections
    }
    const metadata = { channel: this.name, offset, timestamp: f.timestamp, replay: !!f.replay };
    this.#each((s) => s.call(f.data, metadata));
  }

  #grant(f: Frame, link: Link): void {
    const again = this.#granted !== undefined && this.#granted !== link;
    const before = { offset: this.#offset, epoch: this.#epoch };
    this.#granted = link;
    this.#subscribed = f as unknown as Subscribed;
    const other = f.epoch !== undefined && before.epoch !== undefined && f.epoch !== before.epoch;
    if (before.offset < 0) {
      this.#head = { offset: f.offset ?? 0, at: Date.now() };
      if (this.#first().from === 'live') this.#offset = this.#head.offset;
    } else if (other || (f.recovered === false && before.offset > f.offset)) {
      this.#offset = f.offset;
      this.#each((s) => s.onReset?.({ offset: f.offset, epoch: f.epoch }));
    } else if (again && f.recovered) {
      this.#each((s) => s.onRecovered?.());
    }
    this.#epoch = f.epoch ?? this.#epoch;
    for (const s of this.#streams) s.resolve(this.#subscribed);
  }

  #refuse(f: Frame): void {
    const err = errorOf(f);
    const { loadState } = this.#first();
    if (err.code === 'unrecoverable' && loadState) return void this.#load(loadState);
    if (err.code === 'rate_limited' || err.code === 'unavailable') {
      const link = this.#asked;
      return this.#later(() => this.#asked === link && this.subscribe(link, true), err.retryAfter);
    }
    for (const s of this.#streams) s.reject(err);
    this.#each((s) => (s.onError ? s.onError(err) : this.#owner.report(err)));
  }

  #move(offset: number): void {
    this.#offset = offset;
    this.#head = undefined;
    try {
      this.#owner.store?.setItem(this.#key(), JSON.stringify([offset, this.#epoch]));
    } catch {
      // a full or forbidden storage costs the position after a reload, nothing else
    }
  }

  #each(call: (s: Stream) => void): void {
    for (const s of [...this.#streams]) {
      try {
        call(s);
      } catch (err) {
        this.#owner.report(err);
      }
    }
  }

  #later(run: () => void, after = retryPause): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(run, after);
  }

  #first(): StreamOptions {
    return this.#streams.values().next().value ?? {};
  }

  #key(): string {
    return `brook:${this.name}`;
  }
}
