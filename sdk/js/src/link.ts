import { BrookError, errorOf } from './error.js';
import type { Frame, WebSocketLike } from './types.js';

const dialTimeout = 10_000;
const pingPatience = 3_000;
const features = ['goaway', 'ping', 'strict', 'presence'];

/** Hello is what a link is opened with. */
export interface Hello {
  url: string;
  credential: string;
  replaces?: string;
  sdk: string;
}

/**
 * Link is one authenticated WebSocket. `ready` settles once; `down` is called at most once,
 * only after `ready` was fulfilled. It finds out by itself when nothing comes any more.
 */
export class Link {
  /** info is what the server said in `connected`. */
  info: Frame = { type: '' };
  readonly ready: Promise<void>;
  up = false;
  heard = Date.now();

  readonly #ws: WebSocket;
  #last?: BrookError;
  #ended = false;
  #timer?: ReturnType<typeof setTimeout>;
  #probing?: ReturnType<typeof setTimeout>;
  #settle!: (err?: unknown) => void;

  readonly #hello: Hello;
  readonly #opened: () => void;
  readonly #received: (f: Frame, from: Link) => void;
  readonly #down: (from: Link, why: BrookError) => void;

  constructor(
    WS: WebSocketLike,
    hello: Hello,
    opened: () => void,
    received: (f: Frame, from: Link) => void,
    down: (from: Link, why: BrookError) => void,
  ) {
    this.#hello = hello;
    this.#opened = opened;
    this.#received = received;
    this.#down = down;
    this.ready = new Promise((resolve, reject) => {
      this.#settle = (err) => (err ? reject(err) : resolve());
    });
    this.#ws = new WS(hello.url);
    this.#timer = setTimeout(() => this.#end(new BrookError('timeout', 'no answer from the server')), dialTimeout);
    this.#ws.onopen = () => this.#greet();
    this.#ws.onmessage = (e) => this.#take(e.data);
    this.#ws.onclose = (e) => this.#closed(e.code);
    this.#ws.onerror = () => {}; // a close follows
  }

  send(frame: object | string): void {
    try {
      this.#ws.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
    } catch (err) {
      this.#end(new BrookError('closed', String(err)));
    }
  }

  has(feature: string): boolean {
    return !!this.info.features?.includes?.(feature);
  }

  /** probe finds out whether the socket still works, after a sleep for example. */
  probe(): void {
    if (!this.up || this.#probing || !this.has('ping')) return;
    this.#probing = setTimeout(() => this.#end(new BrookError('timeout', 'the connection is dead')), pingPatience);
    this.send({ type: 'ping', id: 'probe' });
  }

  /** close ends the link from this side; down is not called. */
  close(): void {
    this.#end(new BrookError('closed', 'closed by the client'), true);
  }

  /** drop closes the socket as if it broke: a page that is loaded again is back within the grace. */
  drop(): void {
    this.#ws.close(4000);
  }

  #greet(): void {
    this.#opened();
    const { credential, replaces, sdk } = this.#hello;
    this.send({ type: 'auth', apiKey: credential, timestamp: Date.now(), features, sdk, replaces });
  }

  #take(data: unknown): void {
    this.heard = Date.now();
    clearTimeout(this.#probing);
    this.#probing = undefined;
    let f: Frame;
    try {
      f = JSON.parse(data as string);
    } catch {
      return;
    }
    if (f.type === 'heartbeat') return;
    // Without a channel or an id an error is about the connection, and a close follows.
    if ((f.type === 'error' || f.type === 'auth_timeout') && !f.channel && !f.id) this.#last = errorOf(f);
    if (this.up) return this.#received(f, this);
    // A refusal is final; the server waits for the client to close.
    if (f.type === 'error' && f.code !== 'auth_required') return this.#end(Object.assign(errorOf(f), { final: true }));
    if (f.type === 'connected') {
      this.info = f;
      this.up = true;
      clearTimeout(this.#timer);
      this.#watch();
      this.#settle();
    }
  }

  /** watch probes a link that is silent for longer than the server's heartbeat, and ends one that stays so. */
  #watch(): void {
    const beat = this.info.heartbeatMs || 25_000;
    const silent = Date.now() - this.heard;
    if (silent > 2.4 * beat) return this.#end(new BrookError('timeout', 'nothing heard from the server'));
    if (silent > 1.2 * beat) this.probe();
    this.#timer = setTimeout(() => this.#watch(), beat / 5);
  }

  #closed(code: number): void {
    const text = `closed with ${code}`;
    // 1000 means "do not come back" (docs/protocol.md); the error before it says why.
    const why = code === 1000 ? (this.#last ?? new BrookError('closed', text)) : new BrookError('disconnected', text);
    this.#end(Object.assign(why, { final: code === 1000 }));
  }

  #end(why: BrookError, quiet = false): void {
    if (this.#ended) return;
    this.#ended = true;
    const was = this.up;
    this.up = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#probing);
    const ws = this.#ws;
    ws.onopen = ws.onmessage = ws.onclose = null;
    try {
      ws.close(1000);
    } catch {
      // not open yet, or already closed
    }
    if (!was) this.#settle(why);
    else if (!quiet) this.#down(this, why);
  }
}
