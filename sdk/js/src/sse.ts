// Import this for its effect, so that the option `transports` knows 'sse':
//
//   import '@aptlyd/brook/sse';
//   new Brook({ apiKey, transports: ['ws', 'sse'] });

interface Want {
  name: string;
  fromOffset?: number;
  epoch?: string;
  from?: unknown;
  strict?: boolean;
  /** live: the client was told that it is subscribed. */
  live?: boolean;
}

const patience = 5_000;
const retry = 300_000;
const restart = 10;
/** final matches the codes of refused credentials, passing those after which the same may succeed. */
const final = /key|token|origin|auth/;
const passing = /limited|unavail|internal/;

/**
 * EventSocket looks like a WebSocket and speaks plain HTTP: what it is sent becomes requests,
 * and what channels bring comes as Server-Sent Events of one stream.
 */
class EventSocket {
  onopen?: (() => void) | null;
  onmessage?: ((e: { data: string }) => void) | null;
  onclose?: ((e: { code: number }) => void) | null;
  onerror?: unknown;

  readonly #base: string;
  readonly #wants = new Map<string, Want>();
  #key = '';
  #stream?: AbortController;
  #timer?: ReturnType<typeof setTimeout>;
  #over = false;

  constructor(url: string) {
    this.#base = `${url.replace(/^ws/, 'http').replace(/\/*(realtime)?\/*$/, '')}/realtime`;
    setTimeout(() => this.onopen?.());
  }

  send(text: string): void {
    const f = JSON.parse(text);
    if (f.type === 'auth') {
      const first = !this.#key;
      this.#key = f.apiKey;
      if (first) void this.#check();
    } else if (f.type === 'subscribe') {
      this.#wants.set(f.channel, { ...f, name: f.channel }); // what the server does not know means nothing to it
      this.#again();
    } else if (f.type === 'unsubscribe') {
      this.#wants.delete(f.channel);
      this.#again();
    } else if (f.type === 'publish') {
      void this.#publish(text, f);
    }
  }

  close(code = 1000): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#stream?.abort();
    setTimeout(() => this.onclose?.({ code }));
  }

  #emit(f: object): void {
    if (!this.#over) this.onmessage?.({ data: JSON.stringify(f) });
  }

  #ask(path: string, body?: string, signal?: AbortSignal): Promise<Response> {
    const headers = { 'x-api-key': this.#key, 'content-type': 'application/json' };
    return fetch(this.#base + path, { method: body ? 'POST' : 'GET', body, headers, signal, redirect: 'error' });
  }

  /** check finds out whether the key is good, which no channel says yet. */
  async #check(): Promise<void> {
    try {
      if (this.#ends(await (await this.#ask('/batch', '{"messages":[]}')).json())) return;
      this.#emit({ type: 'connected', features: ['gap', 'goaway', 'strict'] });
    } catch {
      this.close(1006);
    }
  }

  /** ends ends the connection after a refusal of all that it asks for. */
  #ends(f: { code?: string }): boolean {
    const later = passing.test(f.code!);
    if (!later && !final.test(f.code!)) return false;
    if (!later) this.#emit({ ...f, type: 'error' });
    this.close(later ? 1013 : 1000);
    return true;
  }

  async #publish(text: string, { channel, id }: { channel: string; id?: string }): Promise<void> {
    try {
      const answer = await (await this.#ask('', text)).json();
      this.#emit({ ...answer, type: answer.success ? 'published' : 'error', channel, id });
    } catch {
      this.close(1006); // it may have happened, and is sent again
    }
  }

  /** again makes the stream anew, with the channels that are wanted now, each from where it is. */
  #again(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#follow(), restart);
  }

  async #follow(): Promise<void> {
    this.#stream?.abort();
    const stream = (this.#stream = new AbortController());
    if (!this.#wants.size) return;
    const mine = () => this.#stream === stream && !this.#over;
    try {
      const answer = await this.#ask('/sse', JSON.stringify({ channels: [...this.#wants.values()] }), stream.signal);
      if (!answer.ok) {
        const f = await answer.json();
        if (mine()) this.#refused(f);
        return;
      }
      const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ''; ;) {
        const { done, value } = await reader.read();
        if (done || !mine()) break;
        const blocks = (text + value).split('\n\n');
        text = blocks.pop()!;
        for (const block of blocks) if (mine()) this.#take(block);
      }
    } catch {
      // the connection broke, as far as it is still the one
    }
    if (mine()) this.close(1006);
  }

  /** refused tells those who wait; the other channels go on. */
  #refused(f: { code: string; error: string }): void {
    if (this.#ends(f)) return;
    for (const [channel, want] of this.#wants) {
      if (want.live) continue;
      this.#wants.delete(channel);
      this.#emit({ ...f, type: 'error', channel });
    }
    if (this.#wants.size) this.close(1006);
  }

  #take(block: string): void {
    const data = /^data: (.*)$/m.exec(block)?.[1];
    if (!data) return this.#emit({ type: 'heartbeat' });
    const f = { type: 'message', ...JSON.parse(data) };
    const want = this.#wants.get(f.channel);
    if (this.#ends(f)) return;
    if (want && f.type === 'subscribed') {
      if (want.strict && !f.recovered) {
        this.#wants.delete(f.channel);
        this.#again();
        return this.#emit({ ...f, type: 'error', code: 'unrecoverable' });
      }
      if (want.live && f.recovered) return;
      want.live = true;
      const other = want.epoch && want.epoch !== f.epoch;
      want.epoch = f.epoch;
      if (want.from === 'live' || other || want.fromOffset! > f.offset) this.#move(want, f.offset);
    } else if (want && f.offset) {
      if (!want.from && f.offset <= want.fromOffset!) return; // a stream that was cut may repeat some
      this.#move(want, f.offset);
    } else if (want && f.type === 'gap') {
      this.#move(want, f.to);
    }
    this.#emit(f);
  }

  #move(want: Want, offset: number): void {
    want.fromOffset = offset;
    want.from = undefined;
  }
}

/** blocked says of servers when no WebSocket came through to them, and Server-Sent Events did. */
const blocked = new Map<string, number>();

/** either returns a constructor of sockets that are WebSockets where one comes through. */
const either = (WS: any) =>
  function (this: any, url: string) {
    let inner: any;
    let failed = 0;
    let settled = !WS || Date.now() - blocked.get(url)! < retry;
    const use = (Socket: any) => {
      inner = new Socket(url);
      inner.onopen = () => this.onopen?.();
      inner.onmessage = (e: any) => {
        settled = true;
        if (failed) blocked.set(url, failed);
        this.onmessage?.(e);
      };
      inner.onerror = () => {}; // a close follows
      inner.onclose = (e: any) => (e.code > 1010 || !fall()) && this.onclose?.(e);
    };
    const fall = () => {
      if (settled) return false;
      settled = true;
      failed = Date.now();
      inner.onopen = inner.onmessage = inner.onclose = null;
      inner.close();
      use(EventSocket);
      return true;
    };
    const timer = setTimeout(fall, patience);
    this.send = (text: string) => inner.send(text);
    this.close = (code?: number) => {
      clearTimeout(timer);
      settled = true;
      inner.close(code);
    };
    use(settled ? EventSocket : WS);
  };

(globalThis as any)[Symbol.for('@aptlyd/brook/sse')] = (transports: string[] | undefined, WS: unknown) =>
  transports?.includes('sse') && (transports.includes('ws') ? either(WS) : EventSocket);
