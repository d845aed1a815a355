import { pauseBefore } from './backoff.js';
import { Channel, type Owner } from './channel.js';
import { BrookError } from './error.js';
import { Link } from './link.js';
import { Outbox } from './outbox.js';
import { lifeOf } from './token.js';
import type {
  ClientConfig, ConnectivityCallback, Frame, HistoryPage, PackageStats, PublishOptions, PublishResult, Status, TokenReason,
  WebSocketLike,
} from './types.js';

const version = '0.1.0';
const settled = 5_000;
const handOverPause = 50;
const renewPause = 5_000;
/** How often in a row a fresh token may be refused before that is final. */
const maxRefusedTokens = 3;
const tokenCodes = ['token_expired', 'token_invalid'];

interface Waiter {
  promise: Promise<boolean>;
  settle: (err?: BrookError) => void;
}

/** Wire lets other parts of the SDK speak frames of their own over the client's connection. */
export interface Wire {
  /** send sends a frame and says whether there was a connection. */
  send(f: object): boolean;
  /** on calls back for every frame; the returned function ends it. */
  on(call: (f: Frame) => void): () => void;
  /** has says whether the server offers a feature. */
  has(feature: string): boolean;
  /** up calls back for every new connection that is used; the returned function ends it. */
  up(call: () => void): () => void;
  /** held are channels that are not to be unsubscribed when their last stream ends, and for whom. */
  readonly held: Map<string, Set<any>>;
  /** drop closes the connection as if it broke. */
  drop(): void;
}

/**
 * Brook is a client: one connection that is made again whenever it breaks, the channels that
 * are followed over it, and what is being published.
 */
export class Brook {
  readonly config: ClientConfig;
  readonly log: Record<'info' | 'error' | 'warn' | 'debug', (...args: any[]) => void>;
  readonly realtime: { channel(name: string): Channel };
  readonly connectivity: { subscribe(callback: ConnectivityCallback): () => void };
  readonly wire: Wire;

  readonly #channels = new Map<string, Channel>();
  readonly #outbox: Outbox;
  readonly #owner: Owner;
  readonly #callbacks = new Set<ConnectivityCallback>();
  readonly #listeners = new Set<(f: Frame) => void>();
  readonly #ups = new Set<() => void>();
  readonly #clientId = `client_${Date.now()}_${Math.random().toString(36).slice(2, 11)}`;
  #state: Status = 'disconnected';
  #link?: Link;
  /** dialling is the link that is being opened, by connecting or for a hand-over. */
  #dialling?: Link;
  #waiter?: Waiter;
  /** life counts connect() and disconnect(): what belongs to an earlier life is over. */
  #life = 0;
  #attempts = 0;
  #refusedTokens = 0;
  #endpoint = 0;
  #timers: Partial<Record<'retry' | 'reset' | 'token', ReturnType<typeof setTimeout>>> = {};
  #wake?: () => void;

  constructor(config: ClientConfig = {}) {
    if (!config.apiKey && !config.token) throw new Error('API key is required');
    this.config = config;
    const logger = (level: 'info' | 'error' | 'warn' | 'debug') => (...args: any[]) => {
      if (config.verbose) console[level](...args);
    };
    this.log = { info: logger('info'), error: logger('error'), warn: logger('warn'), debug: logger('debug') };
    this.#outbox = new Outbox(config);
    const client = this;
    this.#owner = {
      get link() { return client.#link; },
      get store() { return config.store; },
      held: (name) => client.wire.held.has(name),
      publish: (channel, message, id) => this.#publish(channel, message, id),
      status: () => this.#state,
      report: (err) => console.error(err),
    };
    this.realtime = { channel: (name) => this.createChannel(name) };
    this.connectivity = { subscribe: (callback) => this.onConnectivityChange(callback) };
    this.wire = {
      send: (f) => !!this.#link && (this.#link.send(f), true),
      on: (call) => (this.#listeners.add(call), () => void this.#listeners.delete(call)),
      has: (feature) => !!this.#link?.has(feature),
      up: (call) => (this.#ups.add(call), () => void this.#ups.delete(call)),
      held: new Map(),
      drop: () => this.#link?.drop(),
    };
  }

  /**
   * connect resolves when the client is connected and rejects when it is refused for good,
   * is disconnected, or has not come through in time; in the last case it goes on trying.
   */
  connect(): Promise<boolean> {
    if (this.#link) return Promise.resolve(true);
    if (this.#waiter) return this.#waiter.promise;
    let settle!: Waiter['settle'];
    const promise = new Promise<boolean>((resolve, reject) => {
      const late = setTimeout(() => settle(new BrookError('timeout', 'not connected yet')), this.config.connectTimeoutMs ?? 30_000);
      settle = (err) => {
        clearTimeout(late);
        this.#waiter = undefined;
        if (err) reject(err);
        else resolve(true);
      };
    });
    this.#waiter = { promise, settle };
    if (!this.#running()) {
      this.#life++;
      this.#listen();
      void this.#run(this.#life);
    }
    return promise;
  }

  /** disconnect ends the connection and everything that waits for it. */
  disconnect(): void {
    this.#finish('disconnected', new BrookError('closed', 'disconnected'));
  }

  /** cleanup is disconnect, and forgets channels and callbacks. */
  cleanup(): void {
    this.disconnect();
    for (const c of this.#channels.values()) c.close();
    this.#channels.clear();
    this.#callbacks.clear();
  }

  createChannel(name: string): Channel {
    if (!name || typeof name !== 'string') throw new Error('Channel name is required and must be a string');
    let c = this.#channels.get(name);
    if (!c) this.#channels.set(name, (c = new Channel(name, this.#owner)));
    return c;
  }

  /** onConnectivityChange calls back with every new status; the returned function ends it. */
  onConnectivityChange(callback: ConnectivityCallback): () => void {
    if (typeof callback !== 'function') throw new Error('Connectivity callback must be a function');
    this.#callbacks.add(callback);
    return () => void this.#callbacks.delete(callback);
  }

  subscribeToConnectivity(callback: ConnectivityCallback): () => void {
    return this.onConnectivityChange(callback);
  }

  getConnectionStatus(): Status { return this.#state; }
  isConnected(): boolean { return !!this.#link; }
  isAuthenticated(): boolean { return !!this.#link; }
  getClientId(): string { return this.#clientId; }
  getActiveChannels(): string[] { return [...this.#channels.keys()]; }

  getStats(): PackageStats {
    return {
      connection: {
        state: this.#state, clientId: this.#clientId, isAuthenticated: !!this.#link, reconnectAttempts: this.#attempts,
        queuedMessages: this.#outbox.size, lastPongTime: this.#link?.heard, backoffStatus: { attempts: this.#attempts },
      },
      channels: Object.fromEntries([...this.#channels].map(([name, c]) => [name, c.getStats()])),
      activeChannels: this.#channels.size,
    };
  }

  /** publishHttp publishes over REST, without a connection. It takes a server key. */
  async publishHttp(channel: string, message: unknown, options: PublishOptions = {}): Promise<PublishResult> {
    if (!channel || message === undefined) throw new Error('Channel and message are required');
    return this.#rest('', { channel, message, id: options.id });
  }

  /** history reads what is retained of a channel behind an offset, over REST. */
  history(channel: string, { after = 0, limit = 100 } = {}): Promise<HistoryPage> {
    return this.#rest(`/history?${new URLSearchParams({ channel, after: `${after}`, limit: `${limit}` })}`);
  }

  async #rest(path: string, body?: { channel: string; message: unknown; id?: string }): Promise<any> {
    const headers: Record<string, string> = { 'x-api-key': await this.#credential('connect') };
    if (body) headers['Content-Type'] = 'application/json';
    const answer = await fetch(`${this.#nextURL().replace(/^ws/, 'http').replace(/\/+$/, '')}/realtime${path}`, {
      method: body ? 'POST' : 'GET', redirect: 'error', headers, body: body && JSON.stringify(body),
    });
    const read = await answer.json().catch(() => ({}));
    if (answer.ok) return read;
    const retryAfter = Number(answer.headers.get('Retry-After')) * 1000 || undefined;
    throw new BrookError(read.code ?? 'refused', read.error ?? `HTTP ${answer.status}`, { retryAfter, id: body?.id });
  }

  #publish(channel: string, message: unknown, id?: string): Promise<PublishResult> {
    if (this.#life && !this.#running()) return Promise.reject(new BrookError('closed', 'the client is disconnected', { id }));
    return this.#outbox.publish(channel, message, id);
  }

  #running(): boolean {
    return this.#state !== 'disconnected' && this.#state !== 'unauthorized' && this.#state !== 'failed';
  }

  /** run opens links, one after the other, until one is up or it is over. A link that goes down calls it again. */
  async #run(life: number, reason: TokenReason = 'connect'): Promise<void> {
    this.#become(reason === 'connect' && !this.#attempts ? 'connecting' : 'reconnecting');
    while (life === this.#life) {
      try {
        const link = await this.#dial(reason, undefined, () => this.#become('authenticating'));
        if (life !== this.#life) return link.close();
        return this.#use(link);
      } catch (err) {
        if (life !== this.#life) return;
        this.log.warn('connection failed:', err);
        const { final, code } = err as BrookError & { final?: boolean };
        const again = final && this.config.token && tokenCodes.includes(code) && ++this.#refusedTokens < maxRefusedTokens;
        if (final && !again) return this.#finish('unauthorized', err as BrookError);
        if (code === 'misuse') return this.#finish('failed', err as BrookError);
        reason = again ? 'refused' : 'reconnect';
      }
      this.#become('reconnecting');
      await this.#pause();
    }
  }

  /** dial opens a link to the next endpoint, with a fresh token. */
  async #dial(reason: TokenReason, replaces?: string, opened = () => {}, url?: string): Promise<Link> {
    const { WebSocket = globalThis.WebSocket, transports } = this.config;
    const WS = ((globalThis as any)[Symbol.for('@aptlyd/brook/sse')]?.(transports, WebSocket) || WebSocket) as WebSocketLike | undefined;
    if (!WS) throw new BrookError('misuse', 'there is no WebSocket here: give the option WebSocket (of package ws)');
    url ??= this.#nextURL();
    const life = this.#life;
    const credential = await this.#credential(reason);
    if (life !== this.#life) throw new BrookError('closed', 'disconnected');
    const link = new Link(WS, { url, credential, replaces, sdk: `@aptlyd/brook/${version}` }, opened,
      (f, from) => this.#take(f, from), (from, why) => this.#lost(from, why));
    this.#dialling = link;
    try {
      await link.ready;
    } finally {
      if (this.#dialling === link) this.#dialling = undefined;
    }
    this.#refusedTokens = 0;
    this.#renewLater(credential);
    return link;
  }

  async #credential(reason: TokenReason): Promise<string> {
    return (await this.config.token?.({ reason })) ?? this.config.apiKey ?? '';
  }

  #nextURL(): string {
    const { endpoints, endpoint, host } = this.config;
    const here = (globalThis as any).location?.host;
    const all = endpoint ? [endpoint] : endpoints?.length ? endpoints : host || here ? [host || here] : [];
    if (!all.length) throw new BrookError('misuse', 'the option endpoint is missing');
    const url = all[this.#endpoint++ % all.length]!;
    const scheme = (globalThis as any).location?.protocol === 'http:' ? 'ws' : 'wss';
    return url.includes('://') ? url.replace(/^http/, 'ws') : `${scheme}://${url}`;
  }

  /** use makes a link the one that is used. */
  #use(link: Link): void {
    this.#link = link;
    for (const c of this.#channels.values()) c.subscribe(link);
    for (const call of this.#ups) call();
    this.#outbox.open(link);
    clearTimeout(this.#timers.reset);
    this.#timers.reset = setTimeout(() => (this.#attempts = 0), settled);
    this.#become('connected');
    this.#waiter?.settle();
  }

  #take(f: Frame, from: Link): void {
    if (f.id !== undefined && (f.type === 'published' || f.type === 'error')) this.#outbox.answer(f);
    else if (f.type === 'goaway') void this.#handOver(f, from);
    else if (f.channel !== undefined) this.#channels.get(f.channel)?.take(f, from);
    for (const call of this.#listeners) call(f);
  }

  /** lost goes on after a link went down. */
  #lost(link: Link, why: BrookError & { final?: boolean }): void {
    this.log.info('connection lost:', why);
    this.#outbox.lose(link);
    if (link !== this.#link) return; // one that was left
    this.#link = undefined;
    clearTimeout(this.#timers.reset);
    const refused = tokenCodes.includes(why.code) && this.config.token;
    if (why.final && !refused) return this.#finish(why.code === 'closed' ? 'disconnected' : 'unauthorized', why);
    const life = this.#life;
    this.#become('reconnecting');
    void this.#pause().then(() => void (life === this.#life && this.#run(life, refused ? 'refused' : 'reconnect')));
  }

  /** handOver makes the next connection before it leaves one that is about to end. */
  async #handOver(f: Frame, old: Link): Promise<void> {
    const life = this.#life;
    const leaveAt = Date.now() + (f.withinMs ?? 10_000);
    await sleep(f.startInMs ?? 0);
    for (let n = 1; life === this.#life && this.#link === old; n++) {
      try {
        const others: string[] = f.endpoints ?? [];
        const link = await this.#dial('reconnect', old.info.connectionId, undefined, others[(n - 1) % (others.length || 1)]);
        if (life !== this.#life || this.#link !== old) return link.close();
        this.#use(link);
        const moved = () => [...this.#channels.values()].every((c) => c.isOn(link)) && !this.#outbox.waitsOn(old);
        while (old.up && Date.now() < leaveAt && !moved()) await sleep(handOverPause);
        this.#outbox.lose(old);
        old.close();
        if (this.#link === link) this.#outbox.open(link);
        return;
      } catch (err) {
        this.log.warn('the next connection failed:', err);
        await sleep(pauseBefore(n));
      }
    }
  }

  /** renewLater sends a fresh token when 80% of this one's life is over. */
  #renewLater(credential: string): void {
    clearTimeout(this.#timers.token);
    const life = this.config.token && lifeOf(credential);
    if (!life) return;
    const at = life.from + 0.8 * (life.to - life.from);
    this.#timers.token = setTimeout(() => void this.#renew(), Math.min(Math.max(at - Date.now(), 1_000), 2 ** 31 - 1));
  }

  async #renew(): Promise<void> {
    try {
      const credential = await this.#credential('refresh');
      this.#link?.send({ type: 'auth', apiKey: credential, timestamp: Date.now() });
      this.#renewLater(credential);
    } catch (err) {
      this.log.warn('no fresh token:', err);
      this.#timers.token = setTimeout(() => void this.#renew(), renewPause);
    }
  }

  #finish(state: Status, why: BrookError): void {
    this.#life++;
    for (const t of Object.values(this.#timers)) clearTimeout(t);
    this.#unlisten();
    this.#wake?.();
    const link = this.#link;
    const dialling = this.#dialling;
    this.#link = this.#dialling = undefined;
    this.#attempts = 0;
    link?.close();
    dialling?.close();
    this.#outbox.fail(why);
    for (const c of this.#channels.values()) c.fail(why);
    this.#become(state);
    this.#waiter?.settle(why);
  }

  /** pause waits before the next try; going online or coming back to the page ends it. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#timers.retry = setTimeout(resolve, pauseBefore(++this.#attempts));
    });
  }

  #become(state: Status): void {
    if (this.#state === state) return;
    this.#state = state;
    for (const call of [...this.#callbacks]) {
      try {
        call(state);
      } catch (err) {
        console.error(err);
      }
    }
  }

  /** rouse looks after the connection when the page may have slept. */
  readonly #rouse = (): void => {
    if ((globalThis as any).document?.visibilityState === 'hidden') return;
    this.#link?.probe();
    this.#wake?.();
  };

  #listen(): void {
    globalThis.addEventListener?.('online', this.#rouse);
    globalThis.addEventListener?.('pageshow', this.#rouse);
    globalThis.document?.addEventListener('visibilitychange', this.#rouse);
  }

  #unlisten(): void {
    globalThis.removeEventListener?.('online', this.#rouse);
    globalThis.removeEventListener?.('pageshow', this.#rouse);
    globalThis.document?.removeEventListener('visibilitychange', this.#rouse);
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
