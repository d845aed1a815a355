// Calls of the admin API. The browser sends the session cookie by itself; the
// header tells the node that the call comes from this page.

export class ApiError extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

// base is where the node is: above the console's folder, wherever a proxy has put that.
export const base = new URL('..', import.meta.url).href;

const sessions = base + 'console/session';

async function request(method, url, body, signal) {
  const headers = { 'X-Aptlyd-Console': '1' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: 'no-store', redirect: 'manual' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'unreachable', 'This node does not answer.');
  }
  if (response.type === 'opaqueredirect') {
    throw new ApiError(0, 'redirected', 'The answer is a redirect, which the console does not follow: a node never sends one, so a proxy before it did.');
  }
  const text = await response.text();
  let answer = null;
  try {
    if (text) answer = JSON.parse(text);
  } catch {
    throw new ApiError(response.status, 'internal', `The node answered ${response.status} with something that is not JSON.`);
  }
  if (!response.ok) {
    const error = new ApiError(response.status, answer?.code ?? 'internal', answer?.error ?? response.statusText,
      Number(response.headers.get('Retry-After') ?? 0));
    if (response.status === 401 && url !== sessions) dispatchEvent(new CustomEvent('signedout', { detail: error }));
    throw error;
  }
  return answer;
}

// download reads a large answer piece by piece and tells how far it is.
export async function download(path, tell, signal) {
  const response = await fetch(admin(path), { headers: { 'X-Aptlyd-Console': '1' }, signal, cache: 'no-store', redirect: 'manual' });
  if (!response.ok) {
    const answer = await response.json().catch(() => null);
    throw new ApiError(response.status, answer?.code ?? 'internal', answer?.error ?? 'The download was refused.');
  }
  const whole = Number(response.headers.get('Content-Length'));
  const parts = [];
  let got = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    got += value.length;
    tell(got, whole);
  }
  if (got !== whole) throw new ApiError(0, 'internal', `The download was cut short: ${got} of ${whole} bytes came.`);
  return new Blob(parts, { type: 'application/octet-stream' });
}

// call makes any call of the node and returns what came, for the page that explores them.
export async function call({ method, url, headers, body }) {
  const began = performance.now();
  const response = await fetch(url, { method, headers: { ...headers, 'X-Aptlyd-Console': '1' }, body, cache: 'no-store', redirect: 'manual', credentials: 'same-origin' });
  const text = await response.text();
  return { status: response.status, text, type: response.headers.get('Content-Type') ?? '', ms: performance.now() - began };
}

// document is the description of the HTTP API that this node serves.
export const document = (signal) => request('GET', base + 'openapi.json', undefined, signal);

const admin = (path) => base + 'admin/v1' + path;

export const get = (path, signal) => request('GET', admin(path), undefined, signal);
export const post = (path, body, signal) => request('POST', admin(path), body, signal);
export const patch = (path, body) => request('PATCH', admin(path), body);

// del ends something, which a node confirms with an empty answer.
export async function del(path) {
  if (await request('DELETE', admin(path)) !== null) throw new ApiError(0, 'internal', 'Something else than was asked has answered.');
}

export const signIn = (token) => request('POST', sessions, { token });
export const signOut = () => request('DELETE', sessions);

// isID tells what a node may have made from what people name.
export const isID = (text) => /^[\w-]+$/.test(text);

// path joins segments. Only words and ids can be one: a name such as ".." would make
// the call another one, escaped or not.
export function path(...segments) {
  const wrong = segments.find((segment) => !isID(segment));
  if (wrong !== undefined) throw new ApiError(0, 'invalid_message', `${JSON.stringify(wrong)} is not an id.`);
  return '/' + segments.join('/');
}

// messages is the path of a channel's messages.
export const messages = (project, channel, values) => query(path('projects', project, 'messages'), { channel, ...values });

// purge drops what a channel retains and returns how much that was.
export async function purge(project, channel) {
  const answer = await request('DELETE', admin(messages(project, channel)));
  if (answer?.channel !== channel) throw new ApiError(0, 'internal', 'Something else than was asked has answered.');
  return answer;
}

// query adds what is not empty to a path.
export function query(path, values) {
  const kept = Object.entries(values).filter(([, value]) => value !== '' && value !== undefined && value !== null);
  return kept.length ? path + '?' + new URLSearchParams(kept) : path;
}

// all reads every page of a list, up to most items.
export async function all(path, name, most = 1000, signal) {
  const items = [];
  let cursor = '';
  do {
    const page = await get(query(path, { limit: Math.min(1000, most), cursor }), signal);
    items.push(...page[name]);
    cursor = page.next;
  } while (cursor && items.length < most);
  return items;
}
